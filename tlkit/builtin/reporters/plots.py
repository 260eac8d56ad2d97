"""PlotsReporter: learning curves, confusion matrix and reliability diagram as PNG files."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.cells import cell_len, set_cell_size

from tlkit import (
    Calibration,
    ConfigError,
    DataError,
    ReliabilityBin,
    Reporter,
    RunResult,
    atomic_path,
    printable,
)
from tlkit.builtin.reporters.figures import percent
from tlkit.builtin.reporters.history import EpochRow, epoch_rows

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

MAX_CLASSES_WITH_NUMBERS = 20
MAX_CLASSES_WITH_NAMES = 40
MAX_EPOCHS_WITH_MARKERS = 40
_NAME_CELLS, _TITLE_LIMIT = 16, 40
_ROOM_FOR_A_NAME = 0.4
_LARGE, _MEDIUM, _SMALL = 15, 13, 11
# Okabe and Ito's blue and vermilion, which the colour-blind tell apart.
_TRAIN, _VALIDATION = "#0072B2", "#D55E00"
# Matplotlib's own font lacks these scripts; those of the machine are used where it has them.
_FALLBACK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "WenQuanYi Zen Hei",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
    "Noto Emoji",
)


class PlotsReporter(Reporter):
    """Draw learning curves, confusion matrix and reliability diagram into the run folder."""

    name: ClassVar[str] = "plots"
    modules: ClassVar[tuple[str, ...]] = ("matplotlib.figure", "matplotlib.backends.backend_agg")

    def __init__(self, dpi: int = 120) -> None:
        """Choose the size.

        Args:
            dpi: Dots per inch, 50 to 600; 120 makes the curves 1,200 pixels wide.

        Raises:
            ConfigError: If ``dpi`` is out of range.
        """
        if not 50 <= dpi <= 600:
            raise ConfigError(f"[[reporters]] dpi = {dpi} is not allowed: 50 to 600.")
        self.dpi = dpi

    def on_run_end(self, result: RunResult, **kwargs: Any) -> None:
        """Write ``curves.png``, ``confusion_matrix.png`` and ``reliability.png`` in ``plots/``."""
        if result.folder is None:
            return
        folder = result.folder / "plots"
        folder.mkdir(exist_ok=True)
        rows = epoch_rows(result.phases)
        if rows:
            self._save(draw_curves(result, rows), folder / "curves.png")
        self._save(draw_confusion_matrix(result), folder / "confusion_matrix.png")
        if result.test.calibration is not None:
            self._save(draw_reliability(result), folder / "reliability.png")

    def _save(self, figure: Figure, path: Path) -> None:
        with atomic_path(path) as temporary, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            figure.savefig(temporary, dpi=self.dpi, format="png", facecolor="white")


def draw_curves(result: RunResult, rows: Sequence[EpochRow]) -> Figure:
    """Return loss and accuracy against the epoch, train and validation, over all phases."""
    figure = new_figure(10, 4.6)
    as_written(figure.suptitle(_title(result)), _LARGE)
    loss, accuracy = figure.subplots(1, 2)
    held_out = "test set as validation" if result.info.validates_on_test else "validation"
    _draw_metric(loss, rows, "loss", 1.0, held_out)
    _draw_metric(accuracy, rows, "accuracy", 100.0, held_out)
    loss.set_ylabel("Cross-entropy loss (nats)", fontsize=_MEDIUM)
    accuracy.set_ylabel("Accuracy (%)", fontsize=_MEDIUM)
    return figure


def draw_confusion_matrix(result: RunResult) -> Figure:
    """Return the confusion matrix as a heat map: counts as numbers, row shares as colours."""
    import numpy as np

    matrix = result.test.confusion_matrix
    count = len(matrix)
    side = 7.0 if count <= 12 else 8.5
    figure = new_figure(side, side * 0.92)
    as_written(figure.suptitle(_title(result)), _LARGE)
    axes = figure.subplots()
    shares = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=100, interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02)
    bar.ax.tick_params(labelsize=_SMALL)
    bar.set_label("Share of the true class (%)", fontsize=_MEDIUM)
    if count <= MAX_CLASSES_WITH_NUMBERS:
        axes.set_title("Numbers: test images", fontsize=_SMALL)
        _draw_numbers(axes, matrix, shares)
    unit = "" if count <= MAX_CLASSES_WITH_NAMES else " (number, from 0)"
    axes.set_xlabel(f"Predicted class{unit}", fontsize=_MEDIUM)
    axes.set_ylabel(f"True class{unit}", fontsize=_MEDIUM)
    axes.tick_params(labelsize=_SMALL)
    if not unit:
        _name_ticks(axes, result.info.class_names)
    return figure


def draw_reliability(result: RunResult) -> Figure:
    """Return the reliability diagram: accuracy against confidence, above how many images."""
    calibration = result.test.calibration
    if calibration is None:
        raise DataError("This run has no calibration to draw.")
    saved = calibration.saved
    error = percent(saved.expected_calibration_error)
    name = printable(result.info.name, _TITLE_LIMIT)
    figure = new_figure(7, 8)
    as_written(figure.suptitle(f"{name}: expected calibration error {error}"), _LARGE)
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot((0, 100), (0, 100), ls="--", lw=1.5, color="0.35", label="perfectly calibrated")
    _draw_bins(axes, counts, saved.bins, _reliability_label(calibration, calibration.applied))
    if calibration.calibrated is not None:
        other = calibration.uncalibrated if calibration.applied else calibration.calibrated
        label = _reliability_label(calibration, not calibration.applied)
        _draw_line(axes, counts, other.bins, label)
    axes.set_ylabel("Accuracy (%)", fontsize=_MEDIUM)
    axes.set_ylim(0, 100)
    counts.set_ylabel("Test images", fontsize=_MEDIUM)
    counts.set_xlabel("Confidence: probability of the answer (%)", fontsize=_MEDIUM)
    counts.set_xlim(0, 100)
    for item in (axes, counts):
        item.tick_params(labelsize=_SMALL)
        item.grid(alpha=0.3)
        item.set_axisbelow(True)
    # Within the axes it would lie on what is drawn, which may be anywhere.
    figure.legend(fontsize=_SMALL, loc="outside lower center", ncols=2)
    return figure


def _reliability_label(calibration: Calibration, with_temperature: bool) -> str:
    found = calibration.calibrated if with_temperature else calibration.uncalibrated
    assert found is not None
    name = f"temperature {calibration.temperature:.2f}" if with_temperature else "as trained"
    return f"{name}: error {percent(found.expected_calibration_error)}"


def _draw_bins(axes: Axes, counts: Axes, bins: Sequence[ReliabilityBin], label: str) -> None:
    left = [100 * item.lower for item in bins]
    widths = [100 * (item.upper - item.lower) for item in bins]
    style: dict[str, Any] = {"align": "edge", "color": _TRAIN, "edgecolor": "white", "alpha": 0.75}
    axes.bar(left, [100 * item.accuracy for item in bins], widths, label=label, **style)
    counts.bar(left, [item.count for item in bins], widths, **style)


def _draw_line(axes: Axes, counts: Axes, bins: Sequence[ReliabilityBin], label: str) -> None:
    confidences = [100 * item.confidence for item in bins]
    accuracies = [100 * item.accuracy for item in bins]
    axes.plot(confidences, accuracies, "s-", color=_VALIDATION, lw=2, ms=5.5, label=label)
    for item in bins:
        counts.hlines(item.count, 100 * item.lower, 100 * item.upper, color=_VALIDATION, lw=2)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches, with a canvas that needs no screen."""
    # Not pyplot: it keeps every figure in a global list and may want a window.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _title(result: RunResult) -> str:
    name = printable(result.info.name, _TITLE_LIMIT)
    return f"{name}: test accuracy {100 * result.test.accuracy:.1f} %"


def short_name(name: str) -> str:
    """Return a name for a label; Chinese characters and the like take the room of two."""
    shown = printable(name)
    if cell_len(shown) <= _NAME_CELLS:
        return shown
    return set_cell_size(shown, _NAME_CELLS - 1).rstrip() + "…"


def as_written(text: Text, size: float) -> None:
    """Show user text as it is: ``$`` starts no formula, and most scripts have their glyphs."""
    from matplotlib import font_manager

    known = set(font_manager.fontManager.get_font_names())
    text.set_parse_math(False)
    text.set_fontfamily(["DejaVu Sans", *(name for name in _FALLBACK_FONTS if name in known)])
    text.set_fontsize(size)


def _draw_metric(
    axes: Axes, rows: Sequence[EpochRow], key: str, scale: float, held_out: str
) -> None:
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    epochs = [row.epoch for row in rows]
    lines = ((key, "train", _TRAIN, "o-"), (f"val_{key}", held_out, _VALIDATION, "s--"))
    for name, label, colour, style in lines:
        values = [scale * row.metrics.get(name, math.nan) for row in rows]
        if not np.isfinite(values).any():
            continue
        marker = style[0] if len(rows) <= MAX_EPOCHS_WITH_MARKERS else None
        axes.plot(epochs, values, style[1:], marker=marker, color=colour, label=label, lw=2, ms=5.5)
    if axes.lines:
        axes.legend(fontsize=_SMALL)
    else:
        axes.text(0.5, 0.5, "no finite values", ha="center", transform=axes.transAxes)
    axes.set_xlabel("Epoch", fontsize=_MEDIUM)
    axes.set_xlim(0.5, len(rows) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.tick_params(labelsize=_SMALL)
    axes.grid(alpha=0.3)
    _mark_phases(axes, rows)


def _mark_phases(axes: Axes, rows: Sequence[EpochRow]) -> None:
    starts = [
        index for index, row in enumerate(rows) if not index or row.phase != rows[index - 1].phase
    ]
    transform = axes.get_xaxis_transform()
    level = 0
    for number, start in enumerate(starts):
        if number:
            axes.axvline(start + 0.5, color="0.35", ls=":", lw=1.5)
            # A short phase has no room for its name before the next one begins.
            short = start - starts[number - 1] < _ROOM_FOR_A_NAME * len(rows)
            level = 1 - level if short else 0
        name = short_name(rows[start].phase)
        label = axes.text(
            start + 0.5, 1.015 + 0.065 * level, name, transform=transform, color="0.25"
        )
        as_written(label, _SMALL)


def _draw_numbers(axes: Axes, matrix: np.ndarray, shares: np.ndarray) -> None:
    count = len(matrix)
    digits = len(str(matrix.max()))
    size = min(_MEDIUM, 500 / count / max(digits, 2))
    for row in range(count):
        for column in range(count):
            colour = "black" if shares[row, column] > 50 else "white"
            axes.text(
                column,
                row,
                str(matrix[row, column]),
                ha="center",
                va="center",
                color=colour,
                fontsize=size,
            )


def _name_ticks(axes: Axes, class_names: Sequence[str]) -> None:
    size = _SMALL if len(class_names) <= 20 else 8
    names = [short_name(name) for name in class_names]
    for axis, rotation in ((axes.xaxis, 60), (axes.yaxis, 0)):
        axis.set_ticks(range(len(names)), labels=names)
        for label in axis.get_ticklabels():
            as_written(label, size)
            label.set_rotation(rotation)
    for label in axes.get_xticklabels():
        label.set_horizontalalignment("right")
        label.set_rotation_mode("anchor")
