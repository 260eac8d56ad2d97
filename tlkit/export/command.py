"""What ``tlkit export`` does with its arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from tlkit.atomic import atomic_write_text
from tlkit.documents import ExportDocument, ExportedFile
from tlkit.errors import ConfigError, RunFolderError
from tlkit.export.format import Precision
from tlkit.export.records import Exported
from tlkit.export.writing import FOLDER, Job, Settings, export_run, parse_names, prepare
from tlkit.screen import say, show_table
from tlkit.text import printable
from tlkit.wording import plural

FIGURES = "export.json"
_SIZE = re.compile(r"(\d{1,5})[xX](\d{1,5})")
_NONE = "-"


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
        out: A folder for the files, or the one file.
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
    job = prepare(folder, settings, out=out)
    done = []
    for item in export_run(job):
        done.append(item)
        if not quiet and item.error is None:
            print(f"Written: {printable(str(item.file))}", flush=True)
    document = _document(folder, job, done)
    if check:
        _keep(folder, document)
    if not quiet:
        _show(job, done)
    return document


def _parse_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ConfigError(
            f"--input-size {text} is not allowed: height and width in pixels, such as 224x224."
        )
    return int(found[1]), int(found[2])


def _document(folder: Path, job: Job, done: Sequence[Exported]) -> ExportDocument:
    files = []
    for item in done:
        figures = item.figures
        speeds = figures.images_per_second if figures else {}
        files.append(
            ExportedFile(
                format=item.format,
                precision=item.precision,
                file=item.file if item.error is None else None,
                bytes=item.bytes,
                runtime=item.runtime,
                accuracy=figures.accuracy if figures else None,
                accuracy_change=figures.accuracy_change if figures else None,
                largest_difference=figures.largest_difference if figures else None,
                images_per_second_1=speeds.get(1),
                images_per_second_32=speeds.get(32),
                peak_memory_bytes=figures.peak_memory_bytes if figures else None,
                error=item.error,
                warning=item.warning,
            )
        )
    size = job.settings.input_size
    return ExportDocument(
        status="failed" if any(item.error for item in done) else "ok",
        run=folder,
        checked=job.settings.check,
        test_images=len(job.run.test.labels),
        run_accuracy=job.run.test.accuracy,
        tolerance=job.settings.tolerance,
        input_size=None if size is None else list(size),
        files=files,
    )


def _keep(folder: Path, document: ExportDocument) -> None:
    """Write the figures into the run folder, beside those of files that are still there."""
    path = folder / FOLDER / FIGURES
    try:
        path.parent.mkdir(exist_ok=True)
        try:
            before = ExportDocument.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, ValidationError):
            before = None  # none yet, or of no use: the figures can be measured again
        written = [item for item in document.files if item.file is not None]
        names = {item.file for item in written}
        kept = [
            item
            for item in (before.files if before else [])
            if item.file is not None and item.file not in names and item.file.exists()
        ]
        whole = document.model_copy(update={"files": [*kept, *written], "status": "ok"})
        atomic_write_text(path, whole.text())
    except OSError as err:
        raise RunFolderError(f"Cannot write {path}: {err.strerror or err}.") from err


def _show(job: Job, done: Sequence[Exported]) -> None:
    header = ("File", "Size", "Accuracy", "Differs", "Batch 1", "Batch 32", "Memory")
    show_table(header, [_row(item) for item in done if item.bytes], spare=("Memory", "Batch 1"))
    if any(item.figures for item in done):
        print(
            f"Accuracy: on {plural(len(job.run.test.labels), 'test image')}; the run's is "
            f"{100 * job.run.test.accuracy:.2f} %.\n"
            "Differs: the largest difference of a probability from the Keras model's.\n"
            "Batch: images/s at that batch size, the fastest call.\n"
            "Memory: the peak of a process that only loads the file and classifies."
        )
    if not job.settings.check:
        print("Not checked: the files were not run on the test set.")
    for item in done:
        name = item.file.name
        if item.error is not None:
            hint = " Keep it with --allow-loss." if item.figures else ""
            say(f"error: {name} is not written: {item.error}.{hint}".replace("..", "."))
        elif item.warning is not None:
            say(f"warning: {name}: {item.warning}.")


def _row(item: Exported) -> tuple[str, ...]:
    name = item.file.name if item.error is None else f"({item.file.name})"
    size = f"{item.bytes / 1e6:.1f} MB"
    figures = item.figures
    if figures is None:
        return (name, size, *[_NONE] * 5)
    memory = figures.peak_memory_bytes
    return (
        name,
        size,
        f"{100 * figures.accuracy:.2f} %",
        f"{figures.largest_difference:.1e}",
        f"{figures.images_per_second[1]:,.0f}",
        f"{figures.images_per_second[32]:,.0f}",
        _NONE if memory is None else f"{memory / 1e6:,.0f} MB",
    )
