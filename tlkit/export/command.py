"""What ``tlkit export`` does with its arguments."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from tlkit.atomic import atomic_write_text
from tlkit.documents.export import ExportDocument, ExportedFile
from tlkit.errors import ConfigError
from tlkit.export.format import Precision
from tlkit.export.formats import format_of
from tlkit.export.progress import StepLine
from tlkit.export.records import Exported
from tlkit.export.writing import FOLDER, Job, Settings, export_run, parse_names, prepare
from tlkit.mirror import put_back
from tlkit.screen import say, show_table
from tlkit.store_urls import local_place
from tlkit.text import printable
from tlkit.wording import plural

FIGURES = "export.json"
_SIZE = re.compile(r"(\d{1,5})[xX](\d{1,5})")
_NONE = "-"
_HEADER = (
    *("File", "Size (MB)", "Accuracy (%)", "Differs"),
    *("images/s, 1", "images/s, 32", "Memory (MB)"),
)


def export(
    folder: Path,
    to: Sequence[str],
    precision: Sequence[str],
    *,
    tolerance: float,
    allow_loss: bool,
    check: bool,
    calibration_images: int,
    input_size: str | None,
    out: Path | None,
    quiet: bool,
) -> ExportDocument:
    """Write the files that were asked for, say how good they are, and keep the figures.

    Args:
        folder: The run folder.
        to: Names of formats, each perhaps several with commas.
        precision: Precisions, likewise.
        tolerance: The largest change of test accuracy that is allowed, in percentage points.
        allow_loss: Keep files that are beyond it.
        check: Whether each file is run on the test set.
        calibration_images: How many validation images 8-bit ranges are fitted on.
        input_size: ``HEIGHTxWIDTH`` of all pictures; None for pictures of any size.
        out: A folder for the files; where it ends in the suffix of a format, the one file.
        quiet: Print nothing to standard output.

    Raises:
        TlkitError: As ``prepare()`` and ``export_run()`` do.
    """
    settings = Settings(
        formats=parse_names(to),
        precisions=cast(tuple[Precision, ...], parse_names(precision)) or ("float32",),
        tolerance=tolerance,
        allow_loss=allow_loss,
        check=check,
        calibration_images=calibration_images,
        input_size=_parse_size(input_size),
    )
    done = []
    with StepLine(shown=sys.stderr.isatty()) as line:
        line.tell("reading the run and its data")
        job = prepare(folder, settings, out=out)
        with line.hidden():
            for fmt, missing in job.left_out:
                say(f"note: the format '{fmt.name}' has no {missing}: left out.")
        for item in export_run(job, line.tell):
            done.append(item)
            with line.hidden():
                # At once, so that what ends the command early leaves no record of a file before.
                _keep(folder, job, item)
                if not quiet and item.error is None:
                    print(f"Written: {printable(_with_slash(item, str(item.file)))}", flush=True)
    if not quiet:
        _show(job, done)
    return _document(folder, job, [_file(job, item) for item in done])


def _parse_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ConfigError(
            f"--input-size {text} is not allowed: height and width in pixels, such as 224x224."
        )
    return int(found[1]), int(found[2])


def _file(job: Job, item: Exported) -> ExportedFile:
    figures, size = item.figures, job.settings.input_size
    speeds = figures.images_per_second if figures else {}
    return ExportedFile(
        format=item.format,
        precision=item.precision,
        place=item.file,
        file=item.file if item.error is None else None,
        input_size=None if size is None else list(size),
        bytes=item.bytes,
        runtime=item.runtime,
        checked=figures is not None,
        tolerance=job.settings.tolerance if figures else None,
        accuracy=figures.accuracy if figures else None,
        accuracy_change=figures.accuracy_change if figures else None,
        largest_difference=figures.largest_difference if figures else None,
        images_per_second_1=speeds.get(1),
        images_per_second_32=speeds.get(32),
        peak_memory_bytes=figures.peak_memory_bytes if figures else None,
        error=item.error,
        warning=item.warning,
    )


def _document(folder: Path, job: Job, files: list[ExportedFile]) -> ExportDocument:
    return ExportDocument(
        status="failed" if any(item.error for item in files) else "ok",
        run=folder,
        test_images=len(job.run.test.labels),
        run_accuracy=job.run.test.accuracy,
        files=files,
    )


def _keep(folder: Path, job: Job, item: Exported) -> None:
    """Write what is known of a file into the run folder, beside what is known of the others."""
    path = local_place(folder) / FOLDER / FIGURES
    try:
        path.parent.mkdir(exist_ok=True)
        try:
            before = ExportDocument.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, ValidationError):
            before = None  # none yet, or of no use: the figures can be measured again
        # What was refused has no file; what was written may have been deleted since.
        files = [
            known
            for known in (before.files if before else [])
            if known.file is None or known.file.exists()
        ]
        if item.error is None or not item.file.exists():
            place = item.file.resolve()
            files = [known for known in files if known.place.resolve() != place]
            files.append(_file(job, item))
        atomic_write_text(path, _document(folder, job, files).text())
        put_back(path)
    except OSError as err:
        # The files themselves are in place, perhaps elsewhere because this cannot be written.
        say(f"warning: cannot write {path}: {err.strerror or err}. The figures are not kept.")


def _with_slash(item: Exported, path: str) -> str:
    return path if format_of(item.format).suffix else f"{path}/"


def _show(job: Job, done: Sequence[Exported]) -> None:
    made = [item for item in done if item.bytes]
    show_table(
        _HEADER,
        [_row(item) for item in made],
        spare=("Memory (MB)", "images/s, 1", "Differs"),
        numbers=_HEADER[1:],
    )
    if any(item.error for item in made):
        print("(In parentheses): refused, so not put in place.")
    if any(item.figures for item in done):
        print(
            f"Accuracy: on {plural(len(job.run.test.labels), 'test image')}; the run's is "
            f"{100 * job.run.test.accuracy:.2f} %.\n"
            "Differs: the largest difference of a probability from the Keras model's.\n"
            "images/s: of the fastest call, with 1 and with 32 images in a batch.\n"
            "Memory: the peak of a process that only loads the file and classifies."
        )
    if not job.settings.check:
        print("Not checked: the files were not run on the test set.")
    for item in done:
        name = _with_slash(item, item.file.name)
        if item.error is not None:
            hint = " Keep it with --allow-loss." if item.figures else ""
            say(f"error: {name} is not written: {item.error}.{hint}".replace("..", "."))
        elif item.warning is not None:
            say(f"warning: {name}: {item.warning}.")


def _row(item: Exported) -> tuple[str, ...]:
    name = _with_slash(item, item.file.name)
    name = name if item.error is None else f"({name})"
    size = f"{item.bytes / 1e6:.2f}"
    figures = item.figures
    if figures is None:
        return (name, size, *[_NONE] * (len(_HEADER) - 2))
    memory = figures.peak_memory_bytes
    return (
        name,
        size,
        f"{100 * figures.accuracy:.2f}",
        f"{figures.largest_difference:.2g}",
        f"{figures.images_per_second[1]:,.0f}",
        f"{figures.images_per_second[32]:,.0f}",
        _NONE if memory is None else f"{memory / 1e6:,.0f}",
    )
