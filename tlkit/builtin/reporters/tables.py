"""What the rich reporter prints, as Rich renderables that fit 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from tlkit import Phase, RunInfo, RunResult, printable

MOST_MATRIX_CLASSES = 20
MOST_CONFUSIONS = 15
SHOWN_OPTIONS = ("image_size", "weights", "preprocessing", "alpha", "units", "dropout", "path")
EPOCH_COLUMNS = ("Epoch", "Loss", "Accuracy", "Val. loss", "Val. acc.", "Seconds")


class ImagesPerSecond(ProgressColumn):
    """Speed of a progress bar."""

    def render(self, task: Task) -> Text:
        """Return the speed, or nothing before it is known."""
        return Text("" if task.speed is None else f"{task.speed:,.0f} images/s")


def make_progress(console: Console) -> Progress:
    """Return a progress bar with counts, images/s and time left, which vanishes when done."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}", markup=False),
        ImagesPerSecond(),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
    )


def line(text: str) -> Text:
    """Return a line of plain text, with nothing in it understood as markup."""
    return Text(printable(text))


def percent(share: float) -> str:
    """Return a share, 0 to 1, such as ``33.8 %``."""
    return f"{100 * share:.1f} %"


def shorten(text: str, width: int) -> str:
    """Return text in at most so many terminal cells."""
    safe = printable(text)
    if cell_len(safe) <= width:
        return safe
    return set_cell_size(safe, max(width - 1, 0)).rstrip() + "…"


def header(run: RunInfo) -> RenderableType:
    """Return what is about to be trained on what."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    counts = (
        f"{run.num_train:,} train, {run.num_validation:,} validation, {run.num_test:,} test, "
        f"{len(run.class_names)} classes"
    )
    table.add_row("Run", line(run.name))
    for kind, more in (("dataset", counts), ("backbone", ""), ("head", ""), ("workflow", "")):
        settings = run.config.get(kind, {})
        options = [
            f"{key} {settings[key]}" for key in SHOWN_OPTIONS if settings.get(key) is not None
        ]
        parts = [str(settings.get("name", "?")), *([more] if more else []), *options]
        table.add_row(kind.capitalize(), line(", ".join(parts)))
    if run.folder is not None:
        table.add_row("Folder", line(str(run.folder)))
    for note in run.notes:
        table.add_row(Text("Note", style="yellow"), line(note))
    return table


def phase_header(phase: Phase) -> RenderableType:
    """Return the phase's line and the header of its epoch table."""
    text = Text(f"\nPhase {printable(phase.name)}", style="bold")
    text.append(
        f"  {phase.num_images:,} images, {phase.trainable_parameters:,} trainable and "
        f"{phase.frozen_parameters:,} frozen parameters\n",
        style="not bold",
    )
    text.append("".join(f"{name:>11}" for name in EPOCH_COLUMNS), style="not bold underline")
    return text


def epoch_row(phase: Phase, epoch: int, metrics: Mapping[str, float], seconds: float) -> Text:
    """Return an epoch's row, aligned with the header."""

    def figure(key: str) -> str:
        value = metrics.get(key)
        if value is None:
            return "-"
        return percent(value) if key.endswith("accuracy") else f"{value:.4f}"

    keys = ("loss", "accuracy", "val_loss", "val_accuracy")
    cells = [f"{epoch}/{phase.epochs}", *(figure(key) for key in keys), f"{seconds:.1f}"]
    return Text("".join(f"{cell:>11}" for cell in cells))


def final(result: RunResult, width: int) -> Iterator[RenderableType]:
    """Yield the headline, the report, the confusion matrix, the times, and what went wrong."""
    headline = Text(f"Test accuracy {percent(result.test.accuracy)}", style="bold")
    headline.append(f"   loss {result.test.loss:.4f}", style="not bold")
    headline.append(f"   {result.info.num_test:,} images", style="not bold")
    yield Panel(headline, expand=False, padding=(0, 2))
    yield classification_report(result)
    if len(result.info.class_names) <= MOST_MATRIX_CLASSES:
        yield confusion_matrix(result, width)
    else:
        yield top_confusions(result)
    parts = ", ".join(f"{key} {value:.1f}" for key, value in result.seconds.items())
    yield line(f"Seconds: {parts}")
    if result.folder is not None:
        yield line(f"Saved in {result.folder}")
    for warning in result.warnings:
        yield Text("Warning: ", style="yellow").append_text(line(warning))


def classification_report(result: RunResult) -> RenderableType:
    """Return precision, recall and F1 of each class and their averages."""
    table = Table(title="Classification report", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("Class", no_wrap=True)
    for name in ("Precision", "Recall", "F1", "Images"):
        table.add_column(name, justify="right", no_wrap=True)
    for item in (*result.test.classes, *result.test.averages):
        if result.test.averages and item is result.test.averages[0]:
            table.add_section()
        table.add_row(
            Text(shorten(item.name, 30)),
            percent(item.precision),
            percent(item.recall),
            percent(item.f1),
            f"{item.support:,}",
        )
    return table


def confusion_matrix(result: RunResult, width: int) -> RenderableType:
    """Return the confusion matrix as a heat map: darker blue, larger share of the true class."""
    matrix = result.test.confusion_matrix
    count = len(matrix)
    digits = max(2, len(str(int(matrix.max(initial=0)))))
    label = max(4, min(18, width - 6 - count * (digits + 1)))
    if label + count * (digits + 1) > width - 2:
        return top_confusions(result)
    per_cell = min(8, (width - label - 4) // count - 1)
    text = Text("Confusion matrix", style="italic")
    text.append(" (rows: true class, columns: predicted)\n", style="not italic dim")
    text.append(" " * label, style="not italic")
    for name in result.info.class_names:
        cell = shorten(name, per_cell)
        text.append(" " + " " * (per_cell - cell_len(cell)) + cell, style="not italic")
    for name, row in zip(result.info.class_names, matrix, strict=True):
        cell = shorten(name, label)
        text.append("\n" + cell + " " * (label - cell_len(cell)), style="not italic")
        total = max(int(row.sum()), 1)
        for number in row:
            text.append(f" {number:>{per_cell}}", style=f"not italic {_heat(number / total)}")
    return Group(text, Text(""))


def top_confusions(result: RunResult) -> RenderableType:
    """Return the pairs of classes that are taken for each other most often."""
    matrix = result.test.confusion_matrix.copy()
    np.fill_diagonal(matrix, 0)
    names = result.info.class_names
    order = np.argsort(-matrix, axis=None, kind="stable")[:MOST_CONFUSIONS]
    table = Table(title="Most frequent confusions", box=box.SIMPLE_HEAD, title_justify="left")
    for title, justify in (("True class", "left"), ("Predicted", "left"), ("Images", "right")):
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for flat in order:
        row, column = np.unravel_index(flat, matrix.shape)
        if matrix[row, column]:
            true, predicted = (Text(shorten(names[index], 30)) for index in (row, column))
            table.add_row(true, predicted, f"{matrix[row, column]:,}")
    return table


def _heat(share: Any) -> str:
    """Return white on blue for large shares; the terminal's own colours for the smallest."""
    if share < 0.02:
        return "dim"
    level = int(60 + 140 * min(float(share), 1.0))
    return f"white on rgb({level // 6},{level // 3},{level})"
