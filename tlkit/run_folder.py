"""Run folder: what a run leaves on disk, and how to read it back."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.archives import check_zip
from tlkit.atomic import atomic_path, atomic_write_text
from tlkit.checkpoint import CHECKPOINT
from tlkit.errors import RunFolderError, UnsafeFileError
from tlkit.mirror import fetched
from tlkit.model_file import load_model_file
from tlkit.own_layers import import_layers_of
from tlkit.paths import with_urls
from tlkit.records import (
    Float32Array,
    Int64Array,
    RunResult,
)
from tlkit.run_json import from_json, plain, to_json
from tlkit.run_record import check_answers, read_record

if TYPE_CHECKING:
    import keras

CONFIG, RUN, PREDICTIONS, MODEL = "config.toml", "run.json", "predictions.npz", "model.keras"
VALIDATION = "validation.npz"
# What the reporter `files` writes before anything is trained.
_OF_THE_DATA = ("pictures.csv", "leakage.csv")
_MOST_NAMES = 3


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


def discard(folder: Path) -> None:
    """Delete the folder of a run that ended before anything was made but what tells of its data."""
    found = {path.name for path in folder.iterdir()}
    if found <= {CONFIG, CHECKPOINT, *_OF_THE_DATA} and not any(
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

    return tomli_w.dumps(plain(config))


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


def _what_is_there(folder: Path) -> str:
    """Return what stands where a run folder was looked for."""
    if folder.is_file():
        if (folder.parent / RUN).is_file():
            return f" It is a file of the run {folder.parent}: give that folder."
        return " It is a file; the folder of a run comes first."
    place = folder.parent.resolve()
    if not place.is_dir():
        return f" Nor is there a folder {place}: is this the working folder that was meant?"
    found = sorted(path.parent.name for path in place.glob(f"*/{RUN}"))[-_MOST_NAMES:]
    last = f"its last finished runs are {', '.join(found)}" if found else "it holds no finished run"
    return f" Looked in {place}: {last}."


def read_run(folder: Path) -> RunResult:
    """Read a finished run as ``load_run()`` does, from what is on this machine.

    Raises:
        RunFolderError: If the folder is not that of a finished run.
    """
    if not folder.is_dir():
        raise RunFolderError(f"There is no run folder {folder}.{_what_is_there(folder)}")
    if not (folder / RUN).is_file():
        state = "did not finish" if (folder / CONFIG).is_file() else "is no run folder"
        hint = f" Go on: tlkit resume {folder}" if "finish" in state else ""
        raise RunFolderError(f"{folder} {state}: it has no {RUN}.{hint}")
    try:
        record = read_record((folder / RUN).read_text(encoding="utf-8"))
        labels, probabilities = _load_answers(folder / PREDICTIONS)
        return from_json(folder, record, labels, probabilities)
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
        return _load_with_own_layers(path)
    except RunFolderError:
        raise
    except Exception as err:
        config = path.with_name(CONFIG)
        again = f", or train it again: tlkit run {config}" if config.exists() else "."
        raise RunFolderError(
            f"{path} is damaged: {err}\nCopy it again from where it was made{again}"
        ) from err


def _load_with_own_layers(path: Path) -> keras.Model:
    """Load a model file; layers of the run's plugins are looked for where it names unknown ones."""
    try:
        return load_model_file(path)
    except UnsafeFileError:
        cure = import_layers_of(path.with_name(CONFIG))
    try:
        return load_model_file(path)
    except UnsafeFileError as err:
        raise RunFolderError(f"{err}{cure}") from err


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
