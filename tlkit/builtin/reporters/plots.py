"""The plots reporter: learning curves and the confusion matrix as PNG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tlkit import ConfigError, Reporter, RunResult, atomic_path, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart with any colour vision.
TRAIN_COLOUR, VALIDATION_COLOUR, MARK_COLOUR = "#0072B2", "#D55E00", "#666666"
MOST_NUMBERED_CLASSES = 20
MOST_NAMED_CLASSES = 60


class PlotsReporter(Reporter):
    """Draws the learning curves and the confusion matrix as PNG files in plots/."""

    name: ClassVar[str] = "plots"

    def __init__(self, dpi: int = 120) -> None:
        """Set the resolution.

        Args:
            dpi: Dots per inch, 40 to 600; pictures are about 9 inches wide.
        """
        if not 40 <= dpi <= 600:
            raise ConfigError(f"[[reporters]] dpi = {dpi} is not allowed: 40 to 600.")
        self.dpi = dpi

    def on_run_end(self, result: RunResult, **kwargs: Any) -> None:
        """Write ``plots/curves.png`` and ``plots/confusion_matrix.png`` into the run folder."""
        if result.folder is None:
            return
        folder = result.folder / "plots"
        folder.mkdir(exist_ok=True)
        if any(item.history for item in result.phases):
            self._write(folder / "curves.png", draw_curves, result)
        self._write(folder / "confusion_matrix.png", draw_confusion_matrix, result)

    def _write(self, path: Path, draw: Callable[[RunResult], Figure], result: RunResult) -> None:
        with atomic_path(path) as temporary:
            draw(result).savefig(temporary, dpi=self.dpi)


def draw_curves(result: RunResult) -> Figure:
    """Draw loss and accuracy against the epoch, with every phase marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    figure.suptitle(_title(result), parse_math=False)
    panels = figure.subplots(1, 2)
    labels = {"loss": "Loss (cross-entropy, nats)", "accuracy": "Accuracy (%)"}
    for axes, (key, label) in zip(panels, labels.items(), strict=True):
        scale = 100 if key == "accuracy" else 1
        for prefix, name, colour, style in (
            ("", "training", TRAIN_COLOUR, "o-"),
            ("val_", _validation_name(result), VALIDATION_COLOUR, "s--"),
        ):
            epochs, values = _series(result, prefix + key)
            if values:
                heights = scale * np.array(values)
                axes.plot(epochs, heights, style, color=colour, label=name, markersize=4)
        axes.set(xlabel="Epoch", ylabel=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
        _mark_phases(axes, result)
    return figure


def draw_confusion_matrix(result: RunResult) -> Figure:
    """Draw the confusion matrix: counts in the cells, the share of the true class as colour."""
    from matplotlib.figure import Figure

    matrix = result.test.confusion_matrix
    count = len(matrix)
    shares = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(9, 7.6), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=100)
    axes.set_title(_title(result), parse_math=False)
    axes.set(xlabel="Predicted class", ylabel="True class")
    figure.colorbar(image, label="Share of the true class (%)")
    if count <= MOST_NAMED_CLASSES:
        names = [printable(name, 18) for name in result.info.class_names]
        size = 10 if count <= MOST_NUMBERED_CLASSES else 6
        axes.set_xticks(range(count), names, rotation=90 if count > 12 else 45, fontsize=size)
        axes.set_yticks(range(count), names, fontsize=size)
        for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            label.set_parse_math(False)
    if count <= MOST_NUMBERED_CLASSES:
        for (row, column), number in np.ndenumerate(matrix):
            colour = "black" if shares[row, column] > 55 else "white"
            axes.text(
                column, row, str(number), ha="center", va="center", color=colour,
                fontsize=11 if count <= 10 else 7,
            )  # fmt: skip
    return figure


def _title(result: RunResult) -> str:
    name = printable(result.info.name, 60)
    return f"{name}: test accuracy {result.test.accuracy:.1%}".replace("%", " %")


def _validation_name(result: RunResult) -> str:
    on_test = result.info.config.get("run", {}).get("validation") == "test"
    return "test set as validation" if on_test else "validation"


def _series(result: RunResult, key: str) -> tuple[list[int], list[float]]:
    epochs: list[int] = []
    values: list[float] = []
    first = 1
    for item in result.phases:
        found = item.history.get(key, [])
        epochs += range(first, first + len(found))
        values += found
        first += item.phase.epochs
    return epochs, values


def _mark_phases(axes: Axes, result: RunResult) -> None:
    if len(result.phases) < 2:
        return
    first = 0.5
    for item in result.phases:
        if first > 1:
            axes.axvline(first, color=MARK_COLOUR, linestyle=":")
        axes.text(
            first + 0.1, 0.99, printable(item.phase.name, 20), color=MARK_COLOUR, fontsize=8,
            transform=axes.get_xaxis_transform(), va="top", parse_math=False,
        )  # fmt: skip
        first += item.phase.epochs
