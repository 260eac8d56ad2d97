"""PlotsReporter: learning curves, confusion matrix and reliability diagram as PNG files."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

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
from tlkit.builtin.reporters.history import EpochRow, epoch_rows
from tlkit.drawing import LARGE, MEDIUM, SMALL, as_written, new_figure, short_name
from tlkit.wording import percent

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_CLASSES_WITH_NUMBERS = 20
MAX_CLASSES_WITH_NAMES = 40
MAX_EPOCHS_WITH_MARKERS = 40
_TITLE_LIMIT = 40
_ROOM_FOR_A_NAME = 0.4
# From this ratio of the fullest bin to the emptiest on, a linear axis hides the latter.
_LOG_COUNTS_FROM = 50
# Okabe and Ito's blue and vermilion, which the colour-blind tell apart.
_TRAIN, _VALIDATION = "#0072B2", "#D55E00"


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
    """Return loss and accuracy against the epoch, train and validation, over all phases.

    A single epoch, such as that of a head that is computed, makes no curve: it becomes bars.
    """
    figure = new_figure(10, 4.6)
    as_written(figure.suptitle(_title(result)), LARGE)
    loss, accuracy = figure.subplots(1, 2)
    held_out = "test set as validation" if result.info.validates_on_test else "validation"
    draw = _draw_metric if len(rows) > 1 else _draw_bars
    draw(loss, rows, "loss", 1.0, (_train_name(result), held_out))
    draw(accuracy, rows, "accuracy", 100.0, ("train", held_out))
    loss.set_ylabel("Cross-entropy loss (nats)", fontsize=MEDIUM)
    accuracy.set_ylabel("Accuracy (%)", fontsize=MEDIUM)
    return figure


def _train_name(result: RunResult) -> str:
    """Return what the training loss is of; soft labels keep it above what it would be."""
    workflow = result.info.config.get("workflow")
    options = workflow if isinstance(workflow, Mapping) else {}
    soft = any(options.get(key) for key in ("label_smoothing", "mixup", "cutmix"))
    tuned = any(item.phase.name == "fine-tune" for item in result.phases)
    return "train (fine-tune: soft labels)" if soft and tuned else "train"


def draw_confusion_matrix(result: RunResult) -> Figure:
    """Return the confusion matrix as a heat map: counts as numbers, row shares as colours."""
    import numpy as np
    from matplotlib.colors import PowerNorm

    matrix = result.test.confusion_matrix
    count = len(matrix)
    side = 7.0 if count <= 12 else 8.5
    figure = new_figure(side, side * 0.92)
    as_written(figure.suptitle(_title(result)), LARGE)
    axes = figure.subplots()
    shares = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    numbers = count <= MAX_CLASSES_WITH_NUMBERS
    # Without numbers a confusion of a few per cent must be seen by its colour.
    norm = PowerNorm(1.0 if numbers else 0.5, vmin=0, vmax=100)
    image = axes.imshow(shares, cmap="cividis", norm=norm, interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02)
    bar.ax.tick_params(labelsize=SMALL)
    bar.set_label(
        f"Share of the true class (%{'' if numbers else ', square-root scale'})", fontsize=MEDIUM
    )
    if numbers:
        axes.set_title("Numbers: test images", fontsize=SMALL)
        _draw_numbers(axes, matrix, shares)
    unit = "" if count <= MAX_CLASSES_WITH_NAMES else " (number, from 0)"
    axes.set_xlabel(f"Predicted class{unit}", fontsize=MEDIUM)
    axes.set_ylabel(f"True class{unit}", fontsize=MEDIUM)
    axes.tick_params(labelsize=SMALL)
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
    as_written(figure.suptitle(f"{name}: expected calibration error {error}"), LARGE)
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot((0, 100), (0, 100), ls="--", lw=1.5, color="0.35", label="perfectly calibrated")
    _draw_bins(axes, counts, saved.bins, _reliability_label(calibration, calibration.applied))
    if calibration.calibrated is not None:
        other = calibration.uncalibrated if calibration.applied else calibration.calibrated
        label = _reliability_label(calibration, not calibration.applied)
        _draw_line(axes, counts, other.bins, label)
    axes.set_ylabel("Accuracy (%)", fontsize=MEDIUM)
    axes.set_ylim(0, 100)
    _set_count_axis(counts, [item.count for item in saved.bins])
    counts.set_xlabel("Confidence: probability of the answer (%)", fontsize=MEDIUM)
    counts.set_xlim(0, 100)
    for item in (axes, counts):
        item.tick_params(labelsize=SMALL)
        item.grid(alpha=0.3)
        item.set_axisbelow(True)
    # Within the axes it would lie on what is drawn, which may be anywhere.
    figure.legend(fontsize=SMALL, loc="outside lower center", ncols=2)
    return figure


def _set_count_axis(axes: Axes, counts: Sequence[int]) -> None:
    scale = ""
    if max(counts, default=1) >= _LOG_COUNTS_FROM * min(counts, default=1):
        scale = "\n(log scale)"
        axes.set_yscale("log")
        # Of a bar from 1 to 1 nothing would be seen.
        axes.set_ylim(bottom=0.5)
    axes.set_ylabel(f"Test images{scale}", fontsize=MEDIUM)
    axes.yaxis.set_major_formatter("{x:,.0f}")


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


def _title(result: RunResult) -> str:
    name = printable(result.info.name, _TITLE_LIMIT)
    return f"{name}: test accuracy {percent(result.test.accuracy)}"


def _draw_metric(
    axes: Axes, rows: Sequence[EpochRow], key: str, scale: float, names: tuple[str, str]
) -> None:
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    for name, label, colour, style in _series(key, names):
        places: list[float] = []
        values: list[float] = []
        for number, row in enumerate(rows):
            if number and row.phase != rows[number - 1].phase:
                # A gap: from phase to phase the weights that move and the loss are others.
                places, values = [*places, row.epoch - 0.5], [*values, math.nan]
            places.append(row.epoch)
            values.append(scale * row.metrics.get(name, math.nan))
        if not np.isfinite(values).any():
            continue
        marker = style[0] if len(rows) <= MAX_EPOCHS_WITH_MARKERS else None
        axes.plot(places, values, style[1:], marker=marker, color=colour, label=label, lw=2, ms=5.5)
    if axes.lines:
        axes.legend(fontsize=SMALL)
    else:
        _say_no_values(axes)
    axes.set_xlabel("Epoch", fontsize=MEDIUM)
    axes.set_xlim(0.5, len(rows) + 0.5)
    steps = [1, 2, 5, 10]
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1, steps=steps))
    axes.tick_params(labelsize=SMALL)
    axes.grid(alpha=0.3)
    _mark_phases(axes, rows)


def _draw_bars(
    axes: Axes, rows: Sequence[EpochRow], key: str, scale: float, names: tuple[str, str]
) -> None:
    (row,) = rows
    shown = [
        (label, scale * row.metrics[name], colour)
        for name, label, colour, _ in _series(key, names)
        if math.isfinite(row.metrics.get(name, math.nan))
    ]
    for place, (_, value, colour) in enumerate(shown):
        axes.bar(place, value, width=0.6, color=colour)
        text = f"{value:.1f}" if key == "accuracy" else f"{value:.3f}"
        axes.annotate(
            text, (place, value), (0, 4), textcoords="offset points", ha="center", fontsize=SMALL
        )
    if not shown:
        _say_no_values(axes)
    axes.set_xticks(range(len(shown)), [label for label, _, _ in shown], fontsize=MEDIUM)
    axes.set_xlim(-0.7, max(len(shown), 1) - 0.3)
    axes.set_xlabel("Images", fontsize=MEDIUM)
    axes.tick_params(axis="y", labelsize=SMALL)
    axes.margins(y=0.12)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    label = axes.text(0, 1.015, short_name(row.phase), transform=axes.transAxes, color="0.25")
    as_written(label, SMALL)


def _series(key: str, names: tuple[str, str]) -> tuple[tuple[str, str, str, str], ...]:
    """Return for train and validation: name of the figure, label, colour, marker and line."""
    return ((key, names[0], _TRAIN, "o-"), (f"val_{key}", names[1], _VALIDATION, "s--"))


def _say_no_values(axes: Axes) -> None:
    axes.text(0.5, 0.5, "no finite values", ha="center", transform=axes.transAxes)


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
        as_written(label, SMALL)


def _draw_numbers(axes: Axes, matrix: np.ndarray, shares: np.ndarray) -> None:
    count = len(matrix)
    digits = len(str(matrix.max()))
    size = min(MEDIUM, 500 / count / max(digits, 2))
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
    size = SMALL if len(class_names) <= 20 else 8
    names = [short_name(name) for name in class_names]
    for axis, rotation in ((axes.xaxis, 60), (axes.yaxis, 0)):
        axis.set_ticks(range(len(names)), labels=names)
        for label in axis.get_ticklabels():
            as_written(label, size)
            label.set_rotation(rotation)
    for label in axes.get_xticklabels():
        label.set_horizontalalignment("right")
        label.set_rotation_mode("anchor")
