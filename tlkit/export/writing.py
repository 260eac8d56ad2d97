"""Writing: the files of a finished run's model, each checked before it is put in place."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tlkit import run_folder
from tlkit.atomic import atomic_path
from tlkit.dataset import DatasetSource, load_data
from tlkit.errors import ConfigError, DataError, ExportError, RunFolderError, TlkitError
from tlkit.export.checking import TestSet, find_fault, keras_answers, measure
from tlkit.export.format import PRECISIONS, Format, Precision, Source
from tlkit.export.formats import FORMATS, format_of
from tlkit.export.metadata import as_text, metadata_of
from tlkit.export.picture_file import write_pictures
from tlkit.export.progress import Tell
from tlkit.export.records import Exported
from tlkit.mirror import put_back
from tlkit.records import RunResult
from tlkit.registry import Registry
from tlkit.rows import take_rows
from tlkit.run_data import RunData, data_of_run
from tlkit.store_urls import local_place
from tlkit.text import printable
from tlkit.wording import plural

FOLDER = "export"
# Largest change of the test accuracy, in percentage points.
TOLERANCE = 1.0
CALIBRATION_IMAGES = 200
LARGEST_SIDE = 16_384


@dataclass(frozen=True)
class Settings:
    """How a model is exported.

    Attributes:
        formats: Names of formats.
        precisions: What the weights are: ``"float32"``, ``"float16"``, ``"int8"``.
        tolerance: The largest change of test accuracy that is allowed, in percentage points.
        allow_loss: Keep files that are beyond it.
        check: Whether each file is run on the test set.
        calibration_images: How many validation images 8-bit ranges are fitted on.
        input_size: Height and width of all pictures; None for pictures of any size.
    """

    formats: tuple[str, ...] = ("onnx",)
    precisions: tuple[Precision, ...] = ("float32",)
    tolerance: float = TOLERANCE
    allow_loss: bool = False
    check: bool = True
    calibration_images: int = CALIBRATION_IMAGES
    input_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Job:
    """An export that can be done: what is asked for is allowed, installed, and there.

    Attributes:
        run: The finished run.
        settings: How its model is exported.
        targets: Each format with its precision and the path of its file.
        data: The run's images; None where none are needed.
        left_out: Formats with a precision that they do not have.
    """

    run: RunResult
    settings: Settings
    targets: tuple[tuple[Format, Precision, Path], ...]
    data: RunData | None
    left_out: tuple[tuple[Format, Precision], ...] = ()


def prepare(
    folder: Path | str,
    settings: Settings,
    *,
    out: Path | None = None,
    dataset: DatasetSource | None = None,
) -> Job:
    """Check what is asked for before any work is done.

    Args:
        folder: The run folder.
        settings: How the model is exported.
        out: A folder for the files; where it ends in the suffix of a format, the one file. By
            default ``export`` in the run folder.
        dataset: Where the images come from; by default what the run's ``config.toml`` names.

    Raises:
        ConfigError: If a setting is not allowed.
        ExportError: If a format does not have what is asked for, or needs what is not installed.
        DataError: If images are needed that cannot be loaded.
        RunFolderError: If the folder is not that of a finished run.
    """
    formats = [format_of(name) for name in dict.fromkeys(settings.formats)]
    precisions = list(dict.fromkeys(settings.precisions))
    _check_settings(settings)
    asked = [(fmt, precision) for fmt in formats for precision in precisions]
    # Where none is left, the formats' own check says what they have.
    pairs = [(fmt, precision) for fmt, precision in asked if precision in fmt.precisions] or asked
    for fmt, precision in pairs:
        fmt.check(precision, settings.input_size)
    out = None if out is None else local_place(out)
    one_file = out is not None and _is_file(out, pairs)
    run = run_folder.load_run(folder)
    where = out if out is not None else _folder_of(run) / FOLDER
    targets = tuple(
        (fmt, precision, where if one_file else where / fmt.file_name(precision))
        for fmt, precision in pairs
    )
    data = None
    if settings.check or _has_int8(pairs):
        data = _load_data(run, settings, _has_int8(pairs), dataset)
    return Job(run, settings, targets, data, tuple(pair for pair in asked if pair not in pairs))


def export_run(job: Job, tell: Tell = lambda text: None) -> Iterator[Exported]:
    """Write the files of a job; each is put in place when it has passed its check.

    Args:
        job: What ``prepare()`` returned.
        tell: Called before each step, with what is done in it.

    Yields:
        One record for each file, in the order of ``job.targets``; one that could not be written,
        or did not pass, does not stop the others.

    Raises:
        RunFolderError: If the run has no readable model, or a file cannot be written.
    """
    tell("loading the model")
    model = run_folder.load_model(_folder_of(job.run))
    with tempfile.TemporaryDirectory() as temporary:
        test_set = None
        if job.settings.check:
            tell(f"classifying {plural(len(job.run.test.labels), 'test image')} with Keras")
            test_set = _test_set(job, model, Path(temporary))
        pictures = _calibration_pictures(job)
        source = Source(model, job.settings.input_size, pictures)
        for number, (fmt, precision, path) in enumerate(job.targets, 1):
            what = f"{printable(path.name)} ({number} of {len(job.targets)})"
            size = source.input_size if fmt.fixes_size else None
            metadata = as_text(metadata_of(job.run, model, precision, size))
            yield _export(
                job.settings, fmt, precision, path, source, metadata, test_set, _about(what, tell)
            )


def _about(what: str, tell: Tell) -> Tell:
    return lambda step: tell(f"{step} {what}")


def _export(
    settings: Settings,
    fmt: Format,
    precision: Precision,
    path: Path,
    source: Source,
    metadata: str,
    test_set: TestSet | None,
    tell: Tell,
) -> Exported:
    record = Exported(fmt.name, precision, path, fmt.runtime_version())
    fault = None
    try:
        with _in_place(path, is_folder=not fmt.suffix) as temporary:
            tell("converting")
            _write(fmt, source, temporary, precision, metadata)
            record = replace(record, bytes=_size(temporary))
            if test_set is not None:
                tell("checking")
                figures = measure(fmt, temporary, test_set)
                record = replace(record, figures=figures)
                fault = find_fault(figures, precision, settings.tolerance, len(test_set.labels))
            if fault is not None and not settings.allow_loss:
                raise ExportError(fault)
        put_back(path)
    except OSError as err:
        raise RunFolderError(
            f"Cannot write {path}: {err.strerror or err}. Choose another place with --out."
        ) from err
    except TlkitError as err:
        return replace(record, error=str(err))
    return replace(record, warning=fault)


def _write(fmt: Format, source: Source, path: Path, precision: Precision, metadata: str) -> None:
    try:
        fmt.write(source, path, precision, metadata)
    except (TlkitError, OSError):
        raise
    except Exception as err:  # converters raise errors of many kinds
        raise ExportError(
            f"This model cannot be written as {fmt.name} in {precision}: "
            f"{type(err).__name__}: {err}"
        ) from err


@contextmanager
def _in_place(path: Path, *, is_folder: bool) -> Iterator[Path]:
    """Yield where to write; it becomes the file, or the folder, if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not is_folder:
        with atomic_path(path) as temporary:
            yield temporary
        return
    temporary = path.with_name(f".tlkit-unfinished-{secrets.token_hex(6)}")
    temporary.mkdir()
    try:
        yield temporary
        old = path.with_name(f".tlkit-unfinished-{secrets.token_hex(6)}")
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(item.stat().st_size for item in files if item.is_file())


def _test_set(job: Job, model: Any, folder: Path) -> TestSet:
    assert job.data is not None
    test = job.data.data.test
    pictures = folder / "pictures"
    pictures.mkdir()
    write_pictures(pictures, _sized(test.images, job.settings.input_size))
    return TestSet(pictures, test.labels, keras_answers(model, pictures))


def _calibration_pictures(job: Job) -> list[Any]:
    if not _has_int8([(fmt, precision) for fmt, precision, _ in job.targets]):
        return []
    assert job.data is not None
    # What is fitted on test images would flatter the test figures.
    subset = job.data.subsets["train" if job.data.on_test else "validation"]
    count = min(job.settings.calibration_images, len(subset.rows))
    rows = np.sort(np.random.default_rng(0).permutation(subset.rows)[:count])
    return list(_sized(take_rows(subset.split.images, rows), job.settings.input_size))


def _sized(images: Iterable[Any], size: tuple[int, int] | None) -> Iterator[Any]:
    """Yield images at the size that a file is fixed to, as its user would have to give them."""
    from PIL import Image

    for image in images:
        if size is None or image.shape[:2] == size:
            yield image
        else:
            small = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
            yield np.asarray(small)


def _has_int8(pairs: Iterable[tuple[Format, Precision]]) -> bool:
    return any(precision == "int8" for _, precision in pairs)


def _is_file(out: Path, pairs: Sequence[tuple[Format, Precision]]) -> bool:
    """Return whether a place is the one file, by its suffix.

    Raises:
        ConfigError: If it is that of another format, or there are several files.
    """
    suffix = out.suffix.lower()
    suffixes = {fmt.suffix for fmt in map(format_of, FORMATS)} - {""}
    if suffix not in suffixes:
        return False
    if len(pairs) == 1 and pairs[0][0].suffix == suffix:
        return True
    if len(pairs) > 1:
        why = f"it is the name of one file, and {len(pairs)} are asked for"
    else:
        own = pairs[0][0].suffix or "none, as it is a folder"
        why = f"it ends in {suffix}, and the suffix of the format '{pairs[0][0].name}' is: {own}"
    raise ConfigError(
        f"--out {out} is not allowed: {why}. Name a folder (any name that does not end in "
        f"{', '.join(sorted(suffixes))}), or one file with the suffix of its format."
    )


def _load_data(
    run: RunResult, settings: Settings, int8: bool, dataset: DatasetSource | None
) -> RunData:
    try:
        seed = run.info.config.get("run", {}).get("seed", 0)
        known = None if dataset is None else load_data(dataset, seed)
        return data_of_run(run, Registry(), known)
    except TlkitError as err:
        needs = "int8 is fitted on validation images" if int8 else ""
        check = "each file is checked on the test images" if settings.check else ""
        why = " and ".join(item for item in (check, needs) if item)
        hint = "" if needs else " Or export without the check: --no-check."
        raise DataError(
            f"The images of {run.folder} are needed, as {why}, and cannot be loaded: {err}\n"
            f"Put the data back, start where its path leads to it, or in Python give "
            f"`dataset=`.{hint}"
        ) from err


def _check_settings(settings: Settings) -> None:
    if not settings.formats:
        raise ConfigError(f"No format is named. Available: {', '.join(FORMATS)}.")
    for precision in settings.precisions:
        if precision not in PRECISIONS:
            raise ConfigError(f"precision = {precision!r} is not allowed: {', '.join(PRECISIONS)}.")
    if not 0 <= settings.tolerance <= 100:
        raise ConfigError(
            f"tolerance = {settings.tolerance} is not allowed: 0 to 100 percentage points."
        )
    if settings.calibration_images < 1:
        raise ConfigError(
            f"calibration_images = {settings.calibration_images} is not allowed: 1 or more."
        )
    if settings.input_size is not None and not all(
        1 <= side <= LARGEST_SIDE for side in settings.input_size
    ):
        raise ConfigError(
            f"input_size = {settings.input_size} is not allowed: height and width, 1 to "
            f"{LARGEST_SIDE:,} each."
        )


def _folder_of(run: RunResult) -> Path:
    assert run.folder is not None
    return run.folder


def parse_names(given: Sequence[str]) -> tuple[str, ...]:
    """Return the names in options that may be given again, or with commas."""
    names = [name.strip() for item in given for name in item.split(",")]
    return tuple(name for name in names if name)
