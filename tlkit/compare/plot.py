"""Plot: accuracy against seconds, parameters and saved size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tlkit.compare.records import images_per_class
from tlkit.compare.summary import Row, with_most_images
from tlkit.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind tell apart, without their pale yellow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "os^DvPX*<>"
_MEDIUM, _SMALL = 13, 10
_LABEL_LIMIT = 36
# All in inches: a line of labels, one of their letters, a panel, and what is around them.
_LINE, _LETTER = 0.19, 0.077
_PANEL_WIDTH, _LEAST_PANEL_HEIGHT = 3.0, 3.4
_LEFT, _BOTTOM, _TOP, _GAP = 0.75, 0.65, 0.55, 0.9
# From this ratio of the largest to the smallest on, a linear axis crowds the small ones.
_LOG_FROM = 4.0

_PANELS: tuple[tuple[str, Callable[[Row], float | None]], ...] = (
    ("Extraction and training (s)", lambda row: row.seconds),
    ("Parameters (M)", lambda row: None if row.parameters is None else row.parameters / 1e6),
    ("Saved model (MB)", lambda row: None if row.model_bytes is None else row.model_bytes / 1e6),
)


def draw(rows: Sequence[Row]) -> Figure | None:
    """Return the picture: a colour for each backbone, a marker for each head, a label each point.

    Bars are the 95 % confidence interval of the accuracy, or its standard deviation over several
    seeds. Labels stand in a column beside each panel, so that they never cover one another. In a
    grid of several few_shot only the rows of the largest one are shown.

    Args:
        rows: What ``summarise()`` returned.

    Returns:
        The figure; None if no row finished.
    """
    # Not pyplot: it keeps every figure in a global list and may want a window.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    several = len({row.few_shot for row in rows}) > 1
    rows = [row for row in with_most_images(rows) if row.accuracy is not None]
    if not rows:
        return None
    title = bars(rows)
    if several and not rows[0].name:
        title = f"With {images_per_class(rows[0].few_shot)}. {title}"
    inside = max(_LEAST_PANEL_HEIGHT, _LINE * len(rows))
    labels = _LETTER * max(len(printable(row.label, _LABEL_LIMIT)) for row in rows)
    step = _PANEL_WIDTH + labels + _GAP
    width, height = _LEFT + len(_PANELS) * step - _GAP / 2, _BOTTOM + inside + _TOP
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    styles = _styles(rows)
    lowest, highest = _limits(rows)
    for number, (label, value) in enumerate(_PANELS):
        left = (_LEFT + number * step) / width
        axes = figure.add_axes((left, _BOTTOM / height, _PANEL_WIDTH / width, inside / height))
        points = [(found, row) for row in rows if (found := value(row)) is not None]
        axes.set_ylim(lowest, highest)
        axes.set_xlabel(label, fontsize=_MEDIUM)
        axes.tick_params(labelsize=_SMALL)
        axes.grid(alpha=0.3)
        _draw_points(axes, points, styles)
        _set_scale(axes, [x for x, _ in points])
        _draw_labels(axes, points, styles, _LINE / inside)
        if len(points) < len(rows):
            missing = f"{len(rows) - len(points)} not shown: not known"
            axes.set_title(missing, fontsize=_SMALL, loc="left")
    figure.axes[0].set_ylabel("Test accuracy (%)", fontsize=_MEDIUM)
    figure.suptitle(title, fontsize=_SMALL, x=_LEFT / width, ha="left", y=1 - 0.1 / height)
    return figure


def _styles(rows: Sequence[Row]) -> dict[Row, tuple[str, str]]:
    backbones = list(dict.fromkeys(row.backbone for row in rows))
    heads = list(dict.fromkeys(row.head for row in rows))
    return {
        row: (
            COLOURS[backbones.index(row.backbone) % len(COLOURS)],
            MARKERS[heads.index(row.head) % len(MARKERS)],
        )
        for row in rows
    }


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
        return "Bars: standard deviation over the seeds."
    if any(row.interval is not None for row in rows):
        return "Bars: 95 % confidence interval."
    return ""


def _limits(rows: Sequence[Row]) -> tuple[float, float]:
    low = min(100 * (row.accuracy or 0.0) - bar(row)[0] for row in rows)
    high = max(100 * (row.accuracy or 0.0) + bar(row)[1] for row in rows)
    room = max(0.06 * (high - low), 0.5)
    return low - room, high + room


def _draw_points(
    axes: Axes, points: Sequence[tuple[float, Row]], styles: dict[Row, tuple[str, str]]
) -> None:
    for x, row in points:
        colour, marker = styles[row]
        below, above = bar(row)
        axes.errorbar(
            [x],
            [100 * (row.accuracy or 0.0)],
            yerr=[[below], [above]],
            fmt=marker,
            color=colour,
            ms=7,
            mec="white",
            mew=0.6,
            elinewidth=1,
            capsize=2,
            zorder=3,
        )


def _set_scale(axes: Axes, values: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if not values:
        axes.text(0.5, 0.5, "not known", ha="center", transform=axes.transAxes)
        return
    low, high = min(values), max(values)
    if low > 0 and high / low >= _LOG_FROM:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.3, high * 1.3)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        return
    room = 0.1 * (high - low) or 0.1 * high or 1.0
    axes.set_xlim(max(low - room, 0), high + room)
    axes.xaxis.set_major_locator(MaxNLocator(5))


def _draw_labels(
    axes: Axes,
    points: Sequence[tuple[float, Row]],
    styles: dict[Row, tuple[str, str]],
    distance: float,
) -> None:
    """Write the labels in a column to the right, in the order of their points, with leaders."""
    ordered = sorted(points, key=lambda point: ((point[1].accuracy or 0.0), -point[0]))
    low, high = axes.get_ylim()
    wanted = [(100 * (row.accuracy or 0.0) - low) / (high - low) for _, row in ordered]
    places = spread(wanted, distance)
    for (x, row), place in zip(ordered, places, strict=True):
        colour, _ = styles[row]
        text: Any = axes.annotate(
            printable(row.label, _LABEL_LIMIT),
            xy=(x, 100 * (row.accuracy or 0.0)),
            xycoords="data",
            xytext=(1.06, place),
            textcoords="axes fraction",
            va="center",
            fontsize=_SMALL,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.7, "alpha": 0.6},
        )
        text.set_parse_math(False)


def spread(wanted: Sequence[float], distance: float) -> list[float]:
    """Return places at least ``distance`` apart and within 0 to 1, near the wanted ones.

    Args:
        wanted: Places in rising order, 0 to 1.
        distance: Least distance; if they do not all fit it shrinks.
    """
    if not wanted:
        return []
    distance = min(distance, 1 / len(wanted))
    least, most = distance / 2, 1 - distance / 2
    # Groups of labels that touch are moved as one, to the mean of where they want to be.
    groups: list[list[float]] = []
    for place in wanted:
        groups.append([place])
        while len(groups) > 1 and _start(groups[-1], distance, least, most) < (
            _start(groups[-2], distance, least, most) + distance * len(groups[-2])
        ):
            last = groups.pop()
            groups[-1] += last
    return [
        _start(group, distance, least, most) + distance * index
        for group in groups
        for index in range(len(group))
    ]


def _start(group: Sequence[float], distance: float, least: float, most: float) -> float:
    span = distance * (len(group) - 1)
    middle = sum(group) / len(group)
    return min(max(middle - span / 2, least), most - span)
