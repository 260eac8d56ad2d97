"""Plot: accuracy beside seconds, parameters and saved size, one line for each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tlkit.compare.records import images_per_class
from tlkit.compare.summary import Row, with_most_images
from tlkit.drawing import new_figure
from tlkit.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind tell apart, without their pale yellow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "os^DvPX*<>"
_LARGE, _MEDIUM, _SMALL = 15, 12, 11
# Letters of a line of a label, of which the last ones are kept where it is cut.
_LABEL_LIMIT, _LABEL_TAIL = 26, 12
# All in inches: the picture, a row of two lines, what is around the rows, the least height.
_WIDTH, _ROW, _AROUND, _LEAST_HEIGHT = 9.0, 0.5, 1.6, 3.0
# Widths of the panels; the first is that of the accuracy.
_RATIOS = (2.0, 1.0, 1.0, 1.0)
# Room for the number beyond the longest bar, as a share of it.
_NUMBER = 0.65

_COSTS: tuple[tuple[str, Callable[[Row], float | None]], ...] = (
    ("Extraction and\ntraining (s)", lambda row: row.seconds),
    ("Parameters\n(M)", lambda row: None if row.parameters is None else row.parameters / 1e6),
    ("Saved model\n(MB)", lambda row: None if row.model_bytes is None else row.model_bytes / 1e6),
)


def draw(rows: Sequence[Row]) -> Figure | None:
    """Return the picture: a line for each row, the most accurate at the top.

    Bars of the accuracy are its 95 % confidence interval, or its standard deviation over several
    seeds. Costs begin at 0, so that their lengths can be compared. Rows of one backbone have one
    colour. In a grid of several few_shot only the rows of the largest one are shown.

    Args:
        rows: What ``summarise()`` returned.

    Returns:
        The figure; None if no row finished.
    """
    several = len({row.few_shot for row in rows}) > 1
    rows = [row for row in with_most_images(rows) if row.accuracy is not None]
    if not rows:
        return None
    rows.sort(key=lambda row: -(row.accuracy or 0.0))
    explained = bars(rows)
    if several and not rows[0].name:
        explained = f"With {images_per_class(rows[0].few_shot)}. {explained}"
    height = max(_LEAST_HEIGHT, _AROUND + _ROW * len(rows))
    figure = new_figure(_WIDTH, height)
    figure.suptitle(f"Test accuracy and what it costs\n{explained}".rstrip(), fontsize=_LARGE)
    panels = figure.subplots(1, len(_RATIOS), sharey=True, width_ratios=_RATIOS)
    backbones = list(dict.fromkeys(row.backbone for row in rows))
    colours = [COLOURS[backbones.index(row.backbone) % len(COLOURS)] for row in rows]
    _draw_accuracy(panels[0], rows, colours)
    for axes, (label, value) in zip(panels[1:], _COSTS, strict=True):
        axes.set_xlabel(label, fontsize=_MEDIUM)
        _draw_cost(axes, [value(row) for row in rows], colours)
    panels[0].set_yticks(range(len(rows)), [_label(row) for row in rows])
    panels[0].set_ylim(len(rows) - 0.4, -0.75)
    for text in panels[0].get_yticklabels():
        text.set_parse_math(False)
    for axes in panels:
        axes.tick_params(labelsize=_SMALL)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def bar(row: Row) -> tuple[float, float]:
    """Return how far the bar goes below and above the accuracy, in points."""
    accuracy = row.accuracy or 0.0
    if row.deviation is not None:
        return 100 * row.deviation, 100 * row.deviation
    if row.interval is not None:
        return 100 * (accuracy - row.interval[0]), 100 * (row.interval[1] - accuracy)
    return 0.0, 0.0


def bars(rows: Sequence[Row]) -> str:
    """Say what the bars are."""
    if any(row.deviation is not None for row in rows):
        return "Whiskers: standard deviation over the seeds"
    if any(row.interval is not None for row in rows):
        return "Whiskers: 95 % confidence interval"
    return ""


def _label(row: Row) -> str:
    parts = [row.name] if row.name else [row.backbone, row.head]
    return "\n".join(shorten(part, _LABEL_LIMIT, _LABEL_TAIL) for part in parts)


def shorten(text: str, limit: int, tail: int) -> str:
    """Return printable text of at most so many letters; a long one loses its middle.

    Names of cells and runs often begin alike, so that the end must stay.
    """
    shown = printable(text)
    if len(shown) <= limit:
        return shown
    return f"{shown[: limit - tail - 1].rstrip()}…{shown[-tail:].lstrip()}"


def _draw_accuracy(axes: Axes, rows: Sequence[Row], colours: Sequence[str]) -> None:
    from matplotlib.ticker import MaxNLocator

    lows, highs = [], []
    for place, (row, colour) in enumerate(zip(rows, colours, strict=True)):
        accuracy, (below, above) = 100 * (row.accuracy or 0.0), bar(row)
        lows.append(accuracy - below)
        highs.append(accuracy + above)
        axes.errorbar(
            [accuracy], [place], xerr=[[below], [above]], fmt="o", color=colour, ms=7, capsize=3
        )
        axes.annotate(
            f"{accuracy:.1f}",
            (accuracy, place),
            (0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=_SMALL,
        )
    room = max(0.1 * (max(highs) - min(lows)), 1.0)
    axes.set_xlim(min(lows) - room, max(highs) + room)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("Test accuracy\n(%)", fontsize=_MEDIUM)


def _draw_cost(axes: Axes, values: Sequence[float | None], colours: Sequence[str]) -> None:
    from matplotlib.ticker import MaxNLocator

    most = max((value for value in values if value is not None), default=0.0) or 1.0
    for place, (value, colour) in enumerate(zip(values, colours, strict=True)):
        axes.barh(place, value or 0.0, height=0.45, color=colour)
        text = "not known" if value is None else _number(value)
        axes.text((value or 0.0) + 0.04 * most, place, text, va="center", fontsize=_SMALL)
    axes.set_xlim(0, (1 + _NUMBER) * most)
    axes.xaxis.set_major_locator(MaxNLocator(3))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
