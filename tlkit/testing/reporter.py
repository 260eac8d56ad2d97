"""What tlkit asks of a reporter."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from tlkit import run_folder
from tlkit.records import EngineTrial, RunInfo, RunResult
from tlkit.reporter import Reporter
from tlkit.testing.parts import small_trainer
from tlkit.testing.suite import CheckFailed, Subject, check, expect

Event = tuple[str, tuple[Any, ...], dict[str, Any]]
NARROW, WIDE = 20, 200


def _reporter(subject: Subject) -> Reporter:
    return cast(Reporter, subject.make())


def _result(subject: Subject, number: int = 0) -> RunResult:
    """Return a finished run in a folder of this check; it is trained once for all checks."""

    def train() -> RunResult:
        return small_trainer(subject.folder, runs=None).run()

    result = cast(RunResult, subject.once("result", train))
    folder = subject.folder / "runs" / f"20260101-00000{number}-small"
    folder.mkdir(parents=True, exist_ok=True)
    run_folder.write_config(folder, result.info.config)
    # A copy, so that what one check's reporter changes is not seen by the next.
    fresh = copy.deepcopy(replace(result, model=None))
    return replace(fresh, info=replace(fresh.info, folder=folder), model=result.model)


def _save(subject: Subject, result: RunResult) -> None:
    """Put into the run's folder what the Trainer saves before it tells of the end."""
    folder = result.folder
    if folder is None:
        return

    def saved() -> dict[str, bytes]:
        run_folder.save(folder, result, ("keras",))
        names = (run_folder.MODEL, run_folder.PREDICTIONS, run_folder.VALIDATION)
        return {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}

    for name, content in cast(dict[str, bytes], subject.once("saved", saved)).items():
        (folder / name).write_bytes(content)


def _script(subject: Subject, result: RunResult, **more: Any) -> Iterator[Event]:
    """Yield the events of a run, with the arguments that the Trainer gives."""
    info: RunInfo = result.info
    trial = EngineTrial("openvino", "2026.0", "float32", accepted=True, images_per_second=100.0)
    yield "on_stage", ("start",), more
    yield "on_stage", ("data",), more
    yield "on_run_begin", (info,), {"pictures": (), "duplicates": (), "comparison": None, **more}
    for done, stored in ((0, False), (24, False), (60, True)):
        arguments = ("train", done, 60, done / 10)
        yield "on_extract_progress", arguments, {"stored": stored, "kept": done, **more}
    yield "on_engine_chosen", ("openvino", (trial,)), more
    for phase in result.phases:
        yield "on_phase_begin", (phase.phase,), more
        for epoch in range(1, phase.phase.epochs + 1):
            metrics = {key: values[epoch - 1] for key, values in phase.history.items()}
            yield "on_epoch_progress", (phase.phase, epoch, 30, 60, 0.5), more
            yield "on_epoch_end", (phase.phase, epoch, metrics, 1.0), more
        yield "on_phase_end", (phase,), more
    _save(subject, result)
    yield "on_stage", ("reports",), more
    features = np.zeros((1, 4), np.float32)
    yield (
        "on_run_end",
        (result,),
        {
            "test_names": (),
            "test_features": lambda rows: np.repeat(features, len(rows), axis=0),
            **more,
        },
    )


def _tell(reporter: Reporter, events: Iterable[Event]) -> None:
    for name, arguments, keywords in events:
        try:
            getattr(reporter, name)(*arguments, **keywords)
        except Exception as err:
            wanted = ", ".join(inspect.signature(getattr(Reporter, name)).parameters)
            call = f" It is defined as {name}({wanted.replace('kwargs', '**kwargs')})."
            raise CheckFailed(
                f"{name}() raises {type(err).__name__}: {err}. tlkit would drop the reporter and "
                f"go on without it.{call if isinstance(err, TypeError) else ''}"
            ) from err


@contextlib.contextmanager
def _in_folder(folder: Path, columns: int = 80) -> Iterator[io.StringIO]:
    """Work in a folder, with what is printed held back and a terminal of so many columns."""
    before, width = Path.cwd(), os.environ.get("COLUMNS")
    os.chdir(folder)
    os.environ["COLUMNS"] = str(columns)
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(io.StringIO()):
            yield output
    finally:
        os.chdir(before)
        if width is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = width


@check("reporter")
def follows_a_run(subject: Subject) -> None:
    """It raises nothing at any event of an ordinary run."""
    result = _result(subject)
    with _in_folder(subject.folder):
        _tell(_reporter(subject), _script(subject, result))


@check("reporter", needs=("follows-a-run",))
def takes_what_is_new(subject: Subject) -> None:
    """Every event takes keywords that it does not know, so that a later tlkit can say more."""
    reporter = _reporter(subject)
    result = _result(subject)
    with _in_folder(subject.folder):
        try:
            _tell(reporter, _script(subject, result, of_a_later_version=1))
            reporter.on_error(ValueError("broken"), of_a_later_version=1)
        except (CheckFailed, TypeError) as err:
            raise CheckFailed(f"With a keyword that it does not know: {err} Add **kwargs.") from err


@check("reporter", needs=("follows-a-run",))
def survives_odd_runs(subject: Subject) -> None:
    """It raises nothing where nothing is saved, and where a run fails or is interrupted early."""
    result = _result(subject)
    with _in_folder(subject.folder):
        unsaved = replace(result, info=replace(result.info, folder=None))
        _tell(_reporter(subject), _script(subject, unsaved))
        for error in (ValueError("broken"), KeyboardInterrupt()):
            _tell(_reporter(subject), [("on_error", (error,), {})])
            begun = [*itertools.islice(_script(subject, result), 4)]
            _tell(_reporter(subject), [*begun, ("on_error", (error,), {})])


@check("reporter", needs=("follows-a-run",))
def survives_any_width(subject: Subject) -> None:
    """It raises nothing on a terminal of 20 columns, or of 200."""
    for number, columns in enumerate((NARROW, WIDE)):
        result = _result(subject, number)
        with _in_folder(subject.folder, columns):
            try:
                _tell(_reporter(subject), _script(subject, result))
            except CheckFailed as err:
                raise CheckFailed(f"With {columns} columns: {err}") from err


@check("reporter", needs=("follows-a-run",))
def writes_only_into_the_run(subject: Subject) -> None:
    """It writes into the run's folder alone, and nowhere where there is none."""
    result = _result(subject)
    assert result.folder is not None
    place = subject.folder / "work"
    place.mkdir()
    with _in_folder(place):
        _tell(_reporter(subject), _script(subject, result))
    _expect_only(subject.folder, {place, result.folder, result.folder.parent})


def _expect_only(folder: Path, allowed: set[Path]) -> None:
    strange = [
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path not in allowed and not any(path.is_relative_to(item) for item in _leaves(allowed))
    ]
    expect(
        not strange,
        f"It wrote {', '.join(map(str, strange[:5]))} beside the run. Write into result.folder.",
    )


def _leaves(folders: set[Path]) -> list[Path]:
    """Return the folders that may hold anything: those of runs."""
    return [path for path in folders if path.parent.name == "runs"]


@check("reporter", needs=("follows-a-run",))
def leaves_the_result_alone(subject: Subject) -> None:
    """It changes nothing of the run, which other reporters and the record see after it."""
    result = _result(subject)
    before = copy.deepcopy(replace(result, model=None))
    with _in_folder(subject.folder):
        _tell(_reporter(subject), _script(subject, result))
    parts = (
        ("the phases", before.phases == result.phases),
        ("the config", before.info == result.info),
        *(
            (f"the {name}", np.array_equal(getattr(before.test, name), getattr(result.test, name)))
            for name in ("probabilities", "confusion_matrix", "labels")
        ),
    )
    changed = [name for name, same in parts if not same]
    expect(
        not changed,
        f"It changed {', '.join(changed)} of the result that it was told. Work on a copy.",
    )
