"""Few-shot plot: accuracy against the number of training images of each class."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tlkit.compare.plot import COLOURS, MARKERS, bar, shorten
from tlkit.compare.summary import Row
from tlkit.drawing import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LARGE, _MEDIUM, _SMALL, _TITLE_LIMIT = 14, 13, 11, 40
# Letters of a line of the legend, of which the last ones are kept where it is cut; from how many
# letters on the legend has one column.
_LABEL_LIMIT, _LABEL_TAIL, _ONE_COLUMN_FROM = 70, 30, 31
# All in inches: the panel, what is around it, a letter of the ticks, and a line of the legend.
_PANEL_WIDTH, _PANEL_HEIGHT = 6.6, 4.2
_AROUND_WIDTH, _AROUND_HEIGHT = 0.9, 1.4
_LETTER, _TICK_GAP = 0.085, 0.12
_LEGEND_LINE = 0.24
# Factors on the axis: from the largest number to "all", least width of the axis, its margins.
_TO_ALL, _LEAST_SPAN, _MARGIN = 2.5, 4.0, 1.25
# Points of different lines at one number stand so many inches apart, but all of them within this
# share of the distance between numbers: their bars would lie on one another.
_APART, _MOST_APART, _SHARE = 0.09, 0.3, 0.4

_Line = tuple[str, list[Row]]


def draw_few_shot(rows: Sequence[Row]) -> Figure | None:
    """Return the picture: a line with its own colour and marker for each backbone and head.

    Bars are the standard deviation over the seeds; with one seed the 95 % confidence interval of
    the accuracy. The axis is logarithmic; "all" stands at its right end, at no true distance.

    Args:
        rows: What ``summarise()`` returned.

    Returns:
        The figure; None if fewer than two few_shot finished, or the rows are single runs.
    """
    rows = [row for row in rows if row.accuracy is not None and not row.name]
    counts = sorted({row.few_shot for row in rows} - {0})
    includes_all = any(row.few_shot == 0 for row in rows)
    if len(counts) + includes_all < 2:
        return None
    places = {count: float(count) for count in counts}
    if includes_all:
        places[0] = counts[-1] * _TO_ALL
    lines, shared = _lines(rows)
    columns = 1 if max(len(label) for label, _ in lines) >= _ONE_COLUMN_FROM else 2
    legend_height = _LEGEND_LINE * -(-len(lines) // columns) if len(lines) > 1 else 0.0
    size = (_PANEL_WIDTH + _AROUND_WIDTH, _PANEL_HEIGHT + _AROUND_HEIGHT + legend_height)
    figure = new_figure(*size)
    axes = figure.add_subplot()
    several = any(row.deviation is not None for row in rows)
    inches = _set_axis(axes, places)
    for number, (label, line) in enumerate(lines):
        offset = _offset(number, len(lines), places, inches)
        _draw_line(axes, number, label, line, places, offset, several)
    axes.set_ylabel("Test accuracy (%)", fontsize=_MEDIUM)
    axes.tick_params(labelsize=_SMALL)
    axes.grid(alpha=0.3)
    axes.set_title(shared, fontsize=_LARGE, loc="left", pad=24).set_parse_math(False)
    axes.text(0, 1.02, _bars(rows), fontsize=_SMALL, transform=axes.transAxes)
    if len(lines) > 1:
        # Below: beside the panel long names would make a picture too wide to be read when shrunk.
        legend = figure.legend(
            loc="outside lower center", ncols=columns, fontsize=_SMALL, frameon=False
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure


def _lines(rows: Sequence[Row]) -> tuple[list[_Line], str]:
    """Return the lines, the one that ends highest first, and what all of them share."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.backbone, row.head), []).append(row)
    backbones, heads = ({key[part] for key in groups} for part in (0, 1))
    found = []
    for (backbone, head), group in groups.items():
        group.sort(key=lambda row: row.few_shot or math.inf)
        own = [backbone] * (len(backbones) > 1) + [head] * (len(heads) > 1)
        found.append((shorten(", ".join(own), _LABEL_LIMIT, _LABEL_TAIL), group))
    found.sort(key=lambda line: -(line[1][-1].accuracy or 0.0))
    common = [*backbones] * (len(backbones) == 1) + [*heads] * (len(heads) == 1)
    title = "Accuracy with few images"
    return (
        found,
        f"{title}: {shorten(', '.join(common), _TITLE_LIMIT, _TITLE_LIMIT // 2)}"
        if common
        else title,
    )


def _offset(number: int, lines: int, places: dict[int, float], inches: float) -> float:
    """Return the factor by which a line's points stand beside their numbers."""
    ordered = sorted(places.values())
    nearest = min(math.log(b / a) for a, b in itertools.pairwise(ordered)) * inches
    apart = min(_APART * (lines - 1), _MOST_APART, _SHARE * nearest)
    return math.exp((number - (lines - 1) / 2) * apart / max(lines - 1, 1) / inches)


def _draw_line(
    axes: Axes,
    number: int,
    label: str,
    line: Sequence[Row],
    places: dict[int, float],
    offset: float,
    several: bool,
) -> None:
    x = [places[row.few_shot] * offset for row in line]
    y = [100 * (row.accuracy or 0.0) for row in line]
    # A point of one seed among those of several has no spread, and no other bar is mixed in.
    shown = [bar(row) if (row.deviation is not None) == several else (0.0, 0.0) for row in line]
    axes.errorbar(
        x,
        y,
        yerr=[[below for below, _ in shown], [above for _, above in shown]],
        label=label,
        color=COLOURS[number % len(COLOURS)],
        marker=MARKERS[number % len(MARKERS)],
        linestyle="-" if number < len(COLOURS) else "--",
        lw=1.6,
        ms=6.5,
        mec="white",
        mew=0.6,
        elinewidth=1,
        capsize=3,
    )


def _set_axis(axes: Axes, places: dict[int, float]) -> float:
    """Set the axis of numbers; return how many inches a factor of e takes on it."""
    from matplotlib.ticker import FixedLocator, NullLocator

    low, high = min(places.values()), max(places.values())
    # Where all numbers are alike, the axis would be zoomed in on nothing.
    room = max(_MARGIN, math.sqrt(_LEAST_SPAN / (high / low)))
    axes.set_xscale("log")
    axes.set_xlim(low / room, high * room)
    by_place = {place: f"{count:,}" if count else "all" for count, place in places.items()}
    axes.xaxis.set_major_locator(FixedLocator(sorted(by_place)))
    axes.xaxis.set_minor_locator(NullLocator())
    inches = _PANEL_WIDTH / math.log(high * room**2 / low)
    axes.set_xticklabels(_without_overlap(by_place, inches))
    note = "; all: not to scale" if 0 in places else ""
    axes.set_xlabel(f"Training images per class (log scale{note})", fontsize=_MEDIUM)
    return inches


def _without_overlap(labels: dict[float, str], inches: float) -> list[str]:
    """Return the labels in order of place, those empty that would touch one further right.

    Args:
        labels: The label of each place.
        inches: Inches on the axis for a factor of e.
    """
    kept: list[str] = []
    free = math.inf
    for place, label in sorted(labels.items(), reverse=True):
        middle, half = math.log(place) * inches, _LETTER * len(label) / 2
        fits = middle + half + _TICK_GAP <= free
        kept.append(label if fits else "")
        free = middle - half if fits else free
    return kept[::-1]


def _bars(rows: Sequence[Row]) -> str:
    seeds = sorted({len(row.seeds) for row in rows})
    if seeds == [1]:
        return "Bars: 95 % confidence interval on the test images; one seed"
    if len(seeds) == 1:
        return f"Mean over {seeds[0]} seeds; bars: standard deviation over the seeds"
    return f"Mean over {seeds[0]} to {seeds[-1]} seeds; bars: standard deviation over the seeds"
