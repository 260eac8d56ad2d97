"""Files: a comparison as JSON, CSV and a picture."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path
from typing import TYPE_CHECKING

from tlkit.atomic import atomic_path, atomic_write_text
from tlkit.compare.few_shot_plot import draw_few_shot
from tlkit.compare.plot import draw
from tlkit.compare.records import Comparison, Figures
from tlkit.compare.summary import summarise
from tlkit.compare.table import sentence
from tlkit.documents.compare import ComparisonDocument
from tlkit.errors import RunFolderError
from tlkit.mirror import put_back
from tlkit.text import safe_cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

JSON, CSV = "comparison.json", "comparison.csv"
PICTURE, FEW_SHOT_PICTURE = "comparison.png", "few_shot.png"


def document(comparison: Comparison) -> ComparisonDocument:
    """Return what is printed and written of a comparison."""
    pairs = comparison.pairs
    return ComparisonDocument.model_validate(
        {
            "status": "failed" if comparison.failed else "ok",
            "folder": comparison.folder,
            "cells": comparison.cells,
            "rows": summarise(comparison.cells),
            "pairs": [
                {
                    **dataclasses.asdict(test),
                    "larger_than_chance": test.larger_than_chance,
                    "sentence": sentence(test, len(pairs)),
                }
                for test in pairs
            ],
            "differences": dict(comparison.differences),
            "notes": list(comparison.notes),
        }
    )


def write(comparison: Comparison, folder: Path, *, picture: bool = True) -> None:
    """Write ``comparison.json``, ``comparison.csv`` and, if asked, ``comparison.png``.

    With the latter comes ``few_shot.png``, where there is more than one few_shot.

    Raises:
        RunFolderError: If they cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(folder / JSON, document(comparison).text() + "\n")
        atomic_write_text(folder / CSV, _csv(comparison))
        if picture:
            rows = summarise(comparison.cells)
            _save(draw(rows), folder / PICTURE)
            _save(draw_few_shot(rows), folder / FEW_SHOT_PICTURE)
        put_back(*(folder / name for name in (JSON, CSV, PICTURE, FEW_SHOT_PICTURE)))
    except OSError as err:
        raise RunFolderError(f"Cannot write into {folder}: {err.strerror or err}.") from err


def _save(figure: Figure | None, path: Path) -> None:
    if figure is None:
        path.unlink(missing_ok=True)  # of an earlier comparison in the same folder
        return
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png", facecolor="white")


def _csv(comparison: Comparison) -> str:
    names = [field.name for field in dataclasses.fields(Figures) if field.name != "interval"]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(
        (
            "backbone",
            "head",
            "few_shot",
            "seed",
            *names,
            "interval_low",
            "interval_high",
            "reused",
            "folder",
            "error",
        )
    )
    for cell in comparison.cells:
        values = [getattr(cell.figures, name, None) for name in names]
        interval = (cell.figures and cell.figures.interval) or (None, None)
        row = (
            *(cell.backbone, cell.head, cell.few_shot, cell.seed, *values, *interval),
            *(cell.reused, str(cell.folder or ""), cell.error or ""),
        )
        writer.writerow([safe_cell(item) if isinstance(item, str) else item for item in row])
    return buffer.getvalue()
