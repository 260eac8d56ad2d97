"""Map picture: images as points, coloured by their class, the mistakes ringed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tlkit.drawing import LARGE, MEDIUM, SMALL, as_written, new_figure
from tlkit.explain.projection import Projection
from tlkit.records import Float32Array, Int64Array
from tlkit.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

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
# How far a name moves at most, in heights of a line.
_RINGS = 12


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
    _draw_points(axes, projection.points, labels, predictions, class_names)
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
        _label_medians(axes, projection.points, labels, {n: class_names[n] for n in present})
    elif not in_legend:
        _label_medians(axes, projection.points, labels, {n: str(n) for n in present})
    return figure


def _draw_points(
    axes: Axes,
    points: Float32Array,
    labels: Int64Array,
    predictions: Int64Array,
    class_names: Sequence[str],
) -> None:
    wrong = labels != predictions
    size = float(np.clip(24_000 / len(points), 14, 60))
    for label in np.unique(labels):
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
    """Write a name where the median of each class's images lies, or beside it if that is taken."""
    from matplotlib.patheffects import withStroke
    from matplotlib.text import Text

    figure = axes.get_figure(root=True)
    assert figure is not None
    # Lays the figure out, so that it is known what covers what.
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    inside = axes.get_window_extent()
    taken: list[Bbox] = []
    for label, name in names.items():
        text = axes.annotate(
            printable(name, _NAME_LIMIT),
            np.median(points[labels == label], axis=0),
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontweight="bold",
            path_effects=[withStroke(linewidth=3, foreground="white", alpha=0.85)],
            arrowprops={"arrowstyle": "-", "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0},
        )
        as_written(text, SMALL)
        text.set_in_layout(False)
        text.update_positions(renderer)
        box = Text.get_window_extent(text, renderer)
        x, y = next(
            (
                offset
                for offset in _offsets(box.height)
                if _is_free(box.translated(*offset), taken, inside)
            ),
            (0.0, 0.0),
        )
        text.set_position((x * 72 / figure.dpi, y * 72 / figure.dpi))
        # Without a move the line would strike the name through.
        assert text.arrow_patch is not None
        text.arrow_patch.set_visible(bool(x or y))
        taken.append(box.translated(x, y))


def _offsets(step: float) -> Iterator[tuple[float, float]]:
    """Yield moves in pixels: none, then on wider and wider rings."""
    yield 0.0, 0.0
    for ring in range(1, _RINGS + 1):
        for angle in np.linspace(0, 2 * np.pi, 8 * ring, endpoint=False):
            yield ring * step * float(np.cos(angle)), ring * step * float(np.sin(angle))


def _is_free(box: Bbox, taken: Sequence[Bbox], inside: Bbox) -> bool:
    fits = inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1)
    return fits and not any(box.overlaps(other) for other in taken)
