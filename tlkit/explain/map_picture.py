"""Map picture: images as points, coloured by their class, the mistakes ringed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tlkit.drawing import LARGE, MEDIUM, SMALL, as_written, new_figure
from tlkit.explain.projection import Projection
from tlkit.records import Int64Array
from tlkit.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Paul Tol's muted colours, which the colour-blind tell apart, and black: ten, as many as CIFAR-10
# has classes. With nine markers, 90 classes look different.
COLOURS = (
    "#332288",
    "#DDCC77",
    "#117733",
    "#CC6677",
    "#88CCEE",
    "#882255",
    "#44AA99",
    "#999933",
    "#AA4499",
    "#000000",
)
MARKERS = "os^DvPX<>"
MAX_CLASSES_IN_LEGEND, MAX_CLASSES_WITH_NAMES = 40, 12
_NAME_LIMIT, _TITLE_LIMIT = 18, 40
_ROWS_IN_LEGEND = 20


def draw_map(
    projection: Projection,
    labels: Int64Array,
    predictions: Int64Array,
    class_names: Sequence[str],
    title: str,
    subtitle: str,
) -> Figure:
    """Return a figure: a colour and a marker for each true class, a ring around each mistake.

    Args:
        projection: The points (N, 2).
        labels: int64 array (N,), the true classes.
        predictions: int64 array (N,), the answers.
        class_names: The class names in the order of the labels.
        title: First line.
        subtitle: Second line.
    """
    present = np.unique(labels)
    in_legend = len(present) <= MAX_CLASSES_IN_LEGEND
    columns = -(-(len(present) + 1) // _ROWS_IN_LEGEND) if in_legend else 0
    figure = new_figure(7.0 + 1.9 * max(columns, 1), 7.0)
    as_written(figure.suptitle(f"{printable(title, _TITLE_LIMIT)}\n{printable(subtitle)}"), LARGE)
    axes = figure.subplots()
    points, wrong = projection.points, labels != predictions
    size = float(np.clip(24_000 / len(points), 14, 60))
    for label in present:
        chosen = labels == label
        axes.scatter(
            points[chosen, 0],
            points[chosen, 1],
            s=size,
            c=COLOURS[label % len(COLOURS)],
            marker=MARKERS[label % len(MARKERS)],
            alpha=0.7,
            linewidths=0,
            label=printable(class_names[label], _NAME_LIMIT),
        )
    axes.scatter(
        points[wrong, 0],
        points[wrong, 1],
        s=2.5 * size + 25,
        facecolors="none",
        edgecolors="black",
        linewidths=0.8,
        label=f"mistake ({int(wrong.sum()):,})",
    )
    axes.set_xlabel(projection.axes[0], fontsize=MEDIUM)
    axes.set_ylabel(projection.axes[1], fontsize=MEDIUM)
    axes.tick_params(labelsize=SMALL)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    if in_legend:
        _add_legend(axes, columns)
    else:
        axes.set_title("Numbers: classes, from 0, at the median of their images", fontsize=SMALL)
    if len(present) <= MAX_CLASSES_WITH_NAMES:
        _label_medians(axes, points, labels, {n: class_names[n] for n in present})
    elif not in_legend:
        _label_medians(axes, points, labels, {n: str(n) for n in present})
    return figure


def _add_legend(axes: Axes, columns: int) -> None:
    from matplotlib.collections import PathCollection

    legend = axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
        ncols=columns,
        title="True class",
        title_fontsize=SMALL,
    )
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)
            if isinstance(handle, PathCollection):
                handle.set_sizes([55])
    for text in legend.get_texts():
        as_written(text, SMALL)


def _label_medians(
    axes: Axes, points: np.ndarray, labels: Int64Array, names: Mapping[int, str]
) -> None:
    """Write a name where the median of each class's images lies."""
    from matplotlib.patheffects import withStroke

    for label, name in names.items():
        x, y = np.median(points[labels == label], axis=0)
        text = axes.text(
            x,
            y,
            printable(name, _NAME_LIMIT),
            ha="center",
            va="center",
            fontweight="bold",
            path_effects=[withStroke(linewidth=3, foreground="white", alpha=0.85)],
        )
        as_written(text, SMALL)
