"""Heat picture: an image beside where the evidence for one class or two lies in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.explain.drawing import LARGE, MEDIUM, SMALL, as_written, new_figure
from tlkit.explain.records import ClassHeat, Method
from tlkit.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of even steps in lightness, and told apart by the colour-blind.
COLOUR_MAP = "inferno"
_PANEL, _BAR, _AROUND = 3.5, 0.9, 1.7
_NAME_LIMIT, _TITLE_LIMIT = 24, 60
# More pixels than a panel has would be drawn for nothing.
_MAX_SIDE = 700
_LEAST_DROP = 0.001


def draw_heat(
    image: Any, heats: Sequence[ClassHeat], method: Method, title: str, subtitle: str
) -> Figure:
    """Return a figure: the image, and for each class the image in grey under its heat.

    Args:
        image: uint8 RGB pixels (height, width, 3).
        heats: One class or more; all panels share the scale of the colours.
        method: What the heat is.
        title: First line, such as the image's name.
        subtitle: Second line, such as the true and the predicted class.
    """
    shown = _shrunk(np.asarray(image, dtype=np.uint8))
    height, width = np.shape(image)[:2]
    panels = 1 + len(heats)
    ratio = min(max(height / width, 0.4), 2.0)
    figure = new_figure(panels * _PANEL + _BAR, _PANEL * ratio + _AROUND)
    heading = figure.suptitle(f"{printable(title, _TITLE_LIMIT)}\n{printable(subtitle)}")
    as_written(heading, MEDIUM if panels == 2 else LARGE)
    first, *others = np.atleast_1d(figure.subplots(1, panels, sharey=True))
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    first.imshow(shown, extent=extent, interpolation="nearest")
    first.set_title("Image", fontsize=MEDIUM)
    first.set_ylabel("y (pixels)", fontsize=MEDIUM)
    top = _top(heats, method)
    drawn: Any = None
    for axes, item in zip(others, heats, strict=True):
        drawn = _draw_panel(axes, shown, item, method, top, extent)
    for axes in (first, *others):
        axes.set_xlabel("x (pixels)", fontsize=MEDIUM)
        axes.tick_params(labelsize=SMALL)
        axes.locator_params(nbins=5, integer=True)
    bar = figure.colorbar(drawn, ax=others, shrink=0.9, pad=0.02)
    bar.ax.tick_params(labelsize=SMALL)
    label = (
        "Evidence (share of the most)" if method == "grad-cam" else "Drop of probability (points)"
    )
    bar.set_label(label, fontsize=MEDIUM)
    return figure


def _draw_panel(
    axes: Axes, image: Any, item: ClassHeat, method: Method, top: float, extent: Any
) -> Any:
    grey = image @ np.array((0.299, 0.587, 0.114))
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="nearest")
    scale = 1.0 if method == "grad-cam" else 100.0
    drawn = axes.imshow(
        scale * _shrunk(item.heat),
        cmap=COLOUR_MAP,
        vmin=0,
        vmax=scale * top,
        alpha=0.6,
        extent=extent,
        interpolation="nearest",
    )
    name = f"For {printable(item.name, _NAME_LIMIT)} ({100 * item.probability:.1f} %)"
    nothing = item.heat.max() <= (0 if method == "grad-cam" else _LEAST_DROP)
    as_written(axes.set_title(f"{name}\nnothing speaks for it" if nothing else name), MEDIUM)
    return drawn


def _top(heats: Sequence[ClassHeat], method: Method) -> float:
    if method == "grad-cam":
        return 1.0
    return max(*(float(item.heat.max()) for item in heats), 10 * _LEAST_DROP)


def _shrunk(pixels: Any) -> Any:
    from PIL import Image

    height, width = pixels.shape[:2]
    if max(height, width) <= _MAX_SIDE:
        return pixels
    picture = Image.fromarray(pixels)
    picture.thumbnail((_MAX_SIDE, _MAX_SIDE), Image.Resampling.BILINEAR)
    return np.asarray(picture)
