"""Run folder: what a run leaves on disk, and how to read it back."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter

from tlkit.archives import check_zip
from tlkit.atomic import atomic_path, atomic_write_text
from tlkit.changed_values import changed_settings
from tlkit.checkpoint import BEGUN, CHECKPOINT, check_settings, read_begun
from tlkit.errors import RunFolderError, UnsafeFileError
from tlkit.interruption import command_line
from tlkit.mirror import fetched
from tlkit.model_file import load_model_file
from tlkit.object_store import is_url
from tlkit.paths import expand_home, with_urls
from tlkit.records import (
    Calibration,
    ClassReport,
    EngineTrial,
    Evaluation,
    Extraction,
    Float32Array,
    Int64Array,
    Lineage,
    Phase,
    PhaseResult,
    RunInfo,
    RunResult,
)
from tlkit.run_record import check_answers, check_record, read_record
from tlkit.screen import GO_ON
from tlkit.wording import plural

if TYPE_CHECKING:
    import keras

SCHEMA_VERSION = 1
_MOST_NAMED = 10
_STAMP = re.compile(r"(\d{8})-(\d{6})(?:-|$)")
CONFIG, RUN, PREDICTIONS, MODEL = "config.toml", "run.json", "predictions.npz", "model.keras"
VALIDATION = "validation.npz"


def create(runs: Path, name: str) -> Path:
    """Make a new folder ``TIME-NAME`` and return it.

    Raises:
        RunFolderError: If it cannot be made.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for attempt in range(1000):
        folder = runs / (f"{stamp}-{name}" if attempt == 0 else f"{stamp}-{name}-{attempt + 1}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if not runs.is_dir():
                raise RunFolderError(f"Cannot keep runs in {runs}: it is a file.") from None
            continue
        except OSError as err:
            raise RunFolderError(
                f"Cannot make the run folder {folder}: {err.strerror}. Choose another place with "
                f"`--runs DIR`."
            ) from err
        return folder
    raise RunFolderError(f"Cannot find a free name for a run folder in {runs}.")


@contextmanager
def own(folder: Path, patience: float = 1.0) -> Iterator[Path]:
    """Hold a run folder while a run works in it; yield the folder of its checkpoints.

    Args:
        folder: The run folder.
        patience: Seconds to wait for it, above 0 where another process may be checking for a moment
            whether it is free.

    Raises:
        RunFolderError: If a run works in it already, or it cannot be written.
    """
    from filelock import FileLock, Timeout

    checkpoints = folder / CHECKPOINT
    lock = FileLock(checkpoints / "lock", timeout=patience)
    try:
        checkpoints.mkdir(exist_ok=True)
        lock.acquire()
    except Timeout:
        raise RunFolderError(
            f"A run is at work in {folder}. Wait for its end, or stop it first."
        ) from None
    except OSError as err:
        raise _cannot_write(folder, err) from err
    try:
        yield checkpoints
    finally:
        lock.release()


def check_unfinished(folder: Path, config: Mapping[str, Any]) -> None:
    """Check that a folder holds a run of this config that was begun, not finished, and is not on.

    Settings that no figure depends on may differ; see ``tlkit.changed_values``.

    Raises:
        RunFolderError: If it does not.
    """
    where = find_unfinished(folder)
    if has_checkpoints(folder):
        with own(folder, patience=0):
            pass
    try:
        changed = changed_settings(where.read_text(encoding="utf-8"), config_text(config))
    except (OSError, ValueError, RecursionError) as err:
        reason = getattr(err, "strerror", None) or err
        raise RunFolderError(f"Cannot read {where}: {reason}.") from err
    if changed:
        raise RunFolderError(
            f"The run in {folder} was begun with other settings; they are in {where}: "
            f"{'; '.join(changed)}. Resume it with those, or begin a new run with these."
        )
    check_settings(folder / CHECKPOINT, config_text(config))


def find_unfinished(folder: Path) -> Path:
    """Return the config of a run that was begun and not finished.

    Raises:
        RunFolderError: If there is none in this folder.
    """
    if (folder / RUN).is_file():
        raise RunFolderError(
            f"The run in {folder} is finished; there is nothing to resume. See it with `tlkit "
            f"report {folder}`."
        )
    if (folder / CONFIG).is_file():
        return folder / CONFIG
    wanted = "Allowed: the folder of a run that did not finish, such as runs/TIME-NAME"
    if folder.is_file() or folder.is_symlink():
        holds = (folder.parent / CONFIG).is_file()
        hint = f"\n{_resume_line(folder.parent)}" if holds else ""
        raise RunFolderError(f"Cannot resume {folder}: it is a file. {wanted}.{hint}")
    if not folder.is_dir():
        raise RunFolderError(f"Cannot resume {folder}: it does not exist. {wanted}.")
    found = unfinished_runs(folder)
    if found:
        raise RunFolderError(
            f"Cannot resume {folder}: it is a folder of runs. {name_unfinished(found)}"
        )
    raise RunFolderError(
        f"Cannot resume {folder}: it is no run folder, as it has no {CONFIG}, and holds no run "
        f"that did not finish. {wanted}."
    )


def unfinished_runs(runs: Path) -> list[Path]:
    """Return the folders among others that hold a run that was begun and not finished."""
    found = (path.parent for path in runs.glob(f"*/{CONFIG}"))
    return sorted(path for path in found if not (path / RUN).is_file())


def name_unfinished(found: Sequence[Path]) -> str:
    """Return what a user is told of unfinished runs: their number, and a command for each."""
    shown = found[-_MOST_NAMED:]
    older = f" (the last {len(shown)})" if len(shown) < len(found) else ""
    lines = [f"{plural(len(found), 'run')} there did not finish{older}:", *map(_resume_line, shown)]
    return "\n".join(lines)


def _resume_line(folder: Path) -> str:
    return f"{GO_ON}{command_line(['resume', str(folder)])}"


def has_checkpoints(folder: Path) -> bool:
    """Return whether the hidden folder of a run's checkpoints is there."""
    return (folder / CHECKPOINT).is_dir()


def has_states(folder: Path) -> bool:
    """Return whether a run folder holds a state of training; whether it is whole is not checked."""
    return any(map(zipfile.is_zipfile, (folder / CHECKPOINT).glob("phase-*.npz")))


def begun_facts(folder: Path) -> dict[str, Any]:
    """Return what a run noted of itself when it began; nothing where that is missing."""
    return read_begun(folder / CHECKPOINT) or {}


def note_relative_paths(err: Exception, folder: Path, options: Mapping[str, Any]) -> None:
    """Add to an error of a resumed run's data set which paths of it depend on the working folder.

    Args:
        err: What the data set raised.
        folder: The run folder.
        options: Those of the data set.
    """
    before, now = begun_facts(folder).get("working_folder"), str(Path.cwd())
    for name, value in options.items():
        if not isinstance(value, str) or not value or is_url(value) or before == now:
            continue
        path = expand_home(value)
        if path.is_absolute() or path.exists() or value not in str(err):
            continue
        where = f", {before}" if before else ""
        err.add_note(
            f"dataset.{name} = {value!r} is relative to the folder that the run was begun in"
            f"{where}; this is {now}. Resume it from there."
        )


def unfinished_run(runs: Path, config: Mapping[str, Any]) -> Path | None:
    """Return the newest folder among others that holds an unfinished run of a config, if any."""
    wanted = config_text(config)
    for path in sorted(runs.glob(f"*/{CONFIG}"), reverse=True):
        try:
            found = path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue
        if found == wanted and not (path.parent / RUN).exists():
            return path.parent
    return None


def has_begun(folder: Path) -> bool:
    """Return whether a run has come so far that it can be resumed: its data and model are there."""
    return (folder / CHECKPOINT / BEGUN).is_file()


def discard(folder: Path) -> None:
    """Delete the folder of a run that ended before anything was made but its config."""
    if {path.name for path in folder.iterdir()} <= {CONFIG, CHECKPOINT} and not any(
        (folder / CHECKPOINT).glob("phase-*")
    ):
        shutil.rmtree(folder, ignore_errors=True)


def finish(folder: Path, result: RunResult) -> None:
    """Write ``run.json``, which makes the run a finished one, and delete its checkpoints."""
    try:
        atomic_write_text(folder / RUN, with_urls(json.dumps(to_json(result), indent=2)))
    except OSError as err:
        raise _cannot_write(folder, err) from err
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write the resolved config, which ``tlkit run`` runs again."""
    try:
        atomic_write_text(folder / CONFIG, config_text(config))
    except OSError as err:
        raise _cannot_write(folder, err) from err


def config_text(config: Mapping[str, Any]) -> str:
    """Return a config as TOML; None is left out, and Python objects become their description."""
    import tomli_w

    return tomli_w.dumps(_plain(config))


def save(folder: Path, result: RunResult, formats: Sequence[str]) -> None:
    """Write the model and the predictions.

    Args:
        folder: The run folder.
        result: A result with its model.
        formats: ``"keras"``, ``"h5"`` or both.

    Raises:
        RunFolderError: If a file cannot be written.
    """
    try:
        for suffix in formats:
            with atomic_path(folder / f"model.{suffix}") as temporary:
                write_model(result.model, temporary)
        _save_answers(folder / PREDICTIONS, result.test.labels, result.test.probabilities)
        if result.validation is not None:
            _save_answers(folder / VALIDATION, *result.validation)
    except OSError as err:
        raise _cannot_write(folder, err) from err


def to_json(result: RunResult) -> dict[str, Any]:
    """Return a result as plain JSON values, without model, images and probabilities."""
    info = dataclasses.asdict(result.info)
    info["folder"] = None if result.folder is None else str(result.folder)
    info["config"] = _plain(result.info.config)
    calibration = result.test.calibration
    return {
        "schema_version": SCHEMA_VERSION,
        "info": info,
        "phases": [dataclasses.asdict(phase) for phase in result.phases],
        "test": {
            "accuracy": result.test.accuracy,
            "loss": result.test.loss,
            "confusion_matrix": result.test.confusion_matrix.tolist(),
            "classes": [dataclasses.asdict(item) for item in result.test.classes],
            "averages": [dataclasses.asdict(item) for item in result.test.averages],
            "accuracy_interval": result.test.accuracy_interval,
            "balanced_accuracy": result.test.balanced_accuracy,
            "top_5": result.test.top_5,
            "calibration": calibration and dataclasses.asdict(calibration),
        },
        "seconds": dict(result.seconds),
        "fingerprints": dict(result.fingerprints),
        "environment": dict(result.environment),
        "feature_cache": dict(result.feature_cache),
        "extractions": [dataclasses.asdict(item) for item in result.extractions],
        "engine_trials": [dataclasses.asdict(item) for item in result.engine_trials],
        "warnings": list(result.warnings),
    }


def load_run(folder: Path | str) -> RunResult:
    """Read a finished run back from its folder; the model stays on disk.

    Args:
        folder: The run folder, or its URL, such as ``s3://bucket/runs/TIME-NAME``: then
            ``result.folder`` is a copy of it in the cache folder.

    Raises:
        RunFolderError: If the folder is not that of a finished run.
        ObjectStoreError: If the URL cannot be used, or the store does not answer.
    """
    return read_run(fetched(folder))


def read_run(folder: Path) -> RunResult:
    """Read a finished run as ``load_run()`` does, from what is on this machine.

    Raises:
        RunFolderError: If the folder is not that of a finished run.
    """
    if not folder.is_dir():
        raise RunFolderError(f"There is no run folder {folder}. `ls runs` shows those in runs/.")
    if not (folder / RUN).is_file():
        state = "did not finish" if (folder / CONFIG).is_file() else "is no run folder"
        hint = f" Go on: tlkit resume {folder}" if "finish" in state else ""
        raise RunFolderError(f"{folder} {state}: it has no {RUN}.{hint}")
    try:
        record = read_record((folder / RUN).read_text(encoding="utf-8"))
        labels, probabilities = _load_answers(folder / PREDICTIONS)
        return _from_json(folder, record, labels, probabilities)
    except Exception as err:  # whatever a damaged file makes the parsers raise
        raise RunFolderError(
            f"The run folder {folder} is damaged: {type(err).__name__}: {err}"
        ) from err


def is_summary(name: str) -> bool:
    """Return whether an object is needed to know of a run, or of each run in a folder of runs.

    Args:
        name: The object's name below the folder.
    """
    *folders, file = name.split("/")
    return len(folders) <= 1 and file in (RUN, CONFIG, PREDICTIONS, "report.html")


def load_validation(run: RunResult) -> tuple[Int64Array, Float32Array]:
    """Read what a finished run's model says of its validation images.

    Args:
        run: What ``load_run()`` returned.

    Returns:
        The labels (N,), N of 1 or more, and the probabilities (N, number of classes).

    Raises:
        RunFolderError: If there are none, or the file is damaged.
    """
    folder, info = run.folder, run.info
    assert folder is not None
    path = folder / VALIDATION
    if not path.is_file():
        if info.validates_on_test:
            why = "it validated on its test images, by which nothing may be chosen"
            then = f"tlkit run {folder / CONFIG} --set run.validation=0.1"
        else:
            why = "an earlier version made it"
            then = f"tlkit run {folder / CONFIG}"
        raise RunFolderError(f"The run {folder} has no {VALIDATION}: {why}. Run again: {then}")
    try:
        labels, probabilities = _load_answers(path)
        check_answers(labels, probabilities, len(info.class_names))
    except Exception as err:  # whatever a damaged file makes the parsers raise
        raise RunFolderError(f"{path} is damaged: {type(err).__name__}: {err}") from err
    return labels, probabilities


def load_model(folder: Path | str) -> keras.Model:
    """Load a run's model: pixels 0 to 255 in, probabilities out.

    Nothing in the file is run: what it may name is checked before Keras builds anything.

    Args:
        folder: The run folder.

    Raises:
        RunFolderError: If there is none, it cannot be read, or it is refused.
    """
    from tlkit.runtime import require_tensorflow_backend

    require_tensorflow_backend()
    path = model_path(folder)
    try:
        return load_model_file(path)
    except UnsafeFileError as err:
        raise RunFolderError(str(err)) from err
    except Exception as err:
        config = path.with_name(CONFIG)
        again = f", or train it again: tlkit run {config}" if config.exists() else "."
        raise RunFolderError(
            f"{path} is damaged: {err}\nCopy it again from where it was made{again}"
        ) from err


def model_path(folder: Path | str) -> Path:
    """Return the file of a run's model.

    Raises:
        RunFolderError: If there is none.
    """
    folder = fetched(folder)
    if folder.is_file():
        raise RunFolderError(
            f"{folder} is a file; allowed is the folder of a run. A model file alone is read by "
            f"keras.models.load_model()."
        )
    found = [path for path in (folder / MODEL, folder / "model.h5") if path.is_file()]
    if not found:
        raise RunFolderError(f"{folder} has no {MODEL}. Was the run saved?")
    return found[0]


def _save_answers(path: Path, labels: Any, probabilities: Any) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, labels=labels, probabilities=probabilities)


def _load_answers(path: Path) -> tuple[Any, Any]:
    with np.load(path, allow_pickle=False) as arrays:
        check_zip(arrays.zip, ("labels.npy", "probabilities.npy"))
        return arrays["labels"], arrays["probabilities"]


def _cannot_write(folder: Path, err: OSError) -> RunFolderError:
    return RunFolderError(
        f"Cannot write into {folder}: {err.strerror or err}. When that is mended, go on with "
        f"`tlkit resume {folder}`."
    )


def write_model(model: Any, path: Path) -> None:
    """Write a Keras model as its path's suffix says, ``.keras`` or ``.h5``.

    Raises:
        OSError: If the file cannot be written.
    """
    import logging
    import warnings

    # Keras calls HDF5 a legacy format each time; whoever asks for it knows.
    logger, level = logging.getLogger("absl"), logging.getLogger("absl").level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*HDF5.*")
            model.save(path)
    finally:
        logger.setLevel(level)


def _stamp_of(folder: Path) -> str:
    """Return when a run's folder was made, as its name says: ISO 8601 of some time zone."""
    found = _STAMP.match(folder.name)
    return f"{found[1]}T{found[2]}" if found else ""


def _from_json(folder: Path, record: dict[str, Any], labels: Any, probabilities: Any) -> RunResult:
    if record.get("schema_version") != SCHEMA_VERSION:
        raise RunFolderError(
            f"schema_version {record.get('schema_version')!r}; this tlkit reads {SCHEMA_VERSION}"
        )
    check_record(record, labels, probabilities)
    info, test = record["info"], record["test"]
    interval = test.get("accuracy_interval")
    return RunResult(
        info=RunInfo(
            **{
                # Runs of earlier versions say it in their config alone.
                "validates_on_test": info["config"].get("run", {}).get("validation") == "test",
                **info,
                "folder": folder,
                "began": str(info.get("began") or _stamp_of(folder)),
                "class_names": tuple(info["class_names"]),
                "notes": tuple(info["notes"]),
                "idle_options": {
                    kind: tuple(names) for kind, names in info.get("idle_options", {}).items()
                },
                "class_counts": tuple(info.get("class_counts", ())),
                "lineage": TypeAdapter(Lineage | None).validate_python(info.get("lineage")),
            }
        ),
        phases=tuple(
            PhaseResult(**{**item, "phase": Phase(**item["phase"])}) for item in record["phases"]
        ),
        test=Evaluation(
            accuracy=test["accuracy"],
            loss=test["loss"],
            labels=labels,
            probabilities=probabilities,
            confusion_matrix=np.array(test["confusion_matrix"], dtype=np.int64),
            classes=tuple(ClassReport(**item) for item in test["classes"]),
            averages=tuple(ClassReport(**item) for item in test["averages"]),
            # Runs of earlier versions lack the keys below.
            accuracy_interval=interval and (interval[0], interval[1]),
            balanced_accuracy=test.get("balanced_accuracy"),
            top_5=test.get("top_5"),
            calibration=TypeAdapter(Calibration | None).validate_python(test.get("calibration")),
        ),
        seconds=record["seconds"],
        fingerprints=record["fingerprints"],
        environment=record["environment"],
        feature_cache=record["feature_cache"],
        extractions=tuple(Extraction(**item) for item in record.get("extractions", ())),
        engine_trials=tuple(EngineTrial(**item) for item in record.get("engine_trials", ())),
        warnings=tuple(record["warnings"]),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.ndarray):
        return f"<array {value.shape} {value.dtype}>"
    return f"<{type(value).__module__}.{type(value).__qualname__}>"
