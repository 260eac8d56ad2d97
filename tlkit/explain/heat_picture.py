"""Heat picture: an image beside where the evidence for one class or two lies in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.drawing import LARGE, MEDIUM, SMALL, as_written, new_figure
from tlkit.explain.records import ClassHeat, Method
from tlkit.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of even steps in lightness, and told apart by the colour-blind; without its black end, which
# would darken what has no heat.
_COLOUR_MAP, _FROM = "inferno", 0.25
_MOST_OPAQUE = 0.85
_PANEL, _BAR, _AROUND = 3.2, 1.9, 1.5
_NAME_LIMIT, _TITLE_LIMIT = 24, 60
# More pixels than a panel has would be drawn for nothing; fewer would make blocks of the heat.
_MAX_SIDE, _LEAST_SIDE = 700, 350
_LEAST_DROP, _FAINT = 0.001, 0.15


def draw_heat(
    image: Any, heats: Sequence[ClassHeat], method: Method, title: str, subtitle: str
) -> Figure:
    """Return a figure: the image, and for each class the image in grey under its heat.

    Args:
        image: uint8 RGB pixels (height, width, 3).
        heats: One class or more. Drops of probability are shown on one scale; the evidence of
            Grad-CAM on one for each class, as logits of different classes cannot be compared.
        method: What the heat is.
        title: First line, such as the image's name.
        subtitle: Second line, such as the true and the predicted class.
    """
    shown = _fitted(np.asarray(image, dtype=np.uint8))
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
    top = 1.0 if method == "grad-cam" else _largest_drop(heats)
    for axes, item in zip(others, heats, strict=True):
        axes.imshow(_blend(shown, item.heat / top), extent=extent, interpolation="nearest")
        name = f"For {printable(item.name, _NAME_LIMIT)} ({100 * item.probability:.1f} %)"
        as_written(axes.set_title(name), MEDIUM)
        highest = float(item.heat.max())
        if highest <= (0 if method == "grad-cam" else _LEAST_DROP):
            _write_inside(axes, "nothing speaks\nfor this class")
        elif highest < _FAINT * top:
            _write_inside(axes, f"drops by {100 * highest:.1f} points\nat most")
    for axes in (first, *others):
        axes.set_xlabel("x (pixels)", fontsize=MEDIUM)
        axes.tick_params(labelsize=SMALL)
        axes.locator_params(nbins=5, integer=True)
    _add_bar(figure, others[-1], method, top)
    return figure


def overlay(heat: Any) -> Any:
    """Return the heat's colours, the more opaque the hotter, to be laid over a picture.

    Args:
        heat: float32 array (height, width), 0 to 1.

    Returns:
        uint8 RGBA pixels (height, width, 4).
    """
    colours, opaque = _colours(heat)
    rgba = np.concatenate([colours, opaque], axis=-1)
    return np.round(255 * rgba).astype(np.uint8)


def _add_bar(figure: Figure, panel: Axes, method: Method, top: float) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    # The colours as they look over a middle grey, which is what the panels show.
    steps = np.linspace(0, 1, 256, dtype=np.float32)[None]
    colours = _blend(np.full((1, 256, 3), 128, np.uint8), steps)[0]
    if method == "grad-cam":
        scale, label = 1.0, "Evidence (largest\nof each panel = 1)"
    else:
        scale, label = 100.0, "Drop of probability\n(points)"
    drawn = ScalarMappable(Normalize(0, scale * top), ListedColormap(colours))
    bar = figure.colorbar(drawn, cax=panel.inset_axes((1.04, 0, 0.06, 1)))
    bar.ax.tick_params(labelsize=SMALL)
    bar.set_label(label, fontsize=MEDIUM)


def _blend(image: Any, heat: Any) -> Any:
    """Return the image in grey under the heat's colours, the more opaque the hotter: RGB, 0 to 1.

    Args:
        image: uint8 RGB pixels (height, width, 3).
        heat: float32 array of any size, 0 to 1.
    """
    from PIL import Image

    height, width = image.shape[:2]
    if heat.shape != (height, width):
        enlarged = Image.fromarray(heat).resize((width, height), Image.Resampling.BILINEAR)
        heat = np.asarray(enlarged)
    grey = (image @ np.array((0.299, 0.587, 0.114)) / 255)[..., None]
    colours, opaque = _colours(heat)
    return grey * (1 - opaque) + colours * opaque


def _colours(heat: Any) -> tuple[Any, Any]:
    """Return RGB (height, width, 3) and opacity (height, width, 1), both 0 to 1."""
    from matplotlib import colormaps

    share = np.clip(heat, 0, 1)
    colours = colormaps[_COLOUR_MAP](_FROM + (1 - _FROM) * share)[..., :3]
    return colours, _MOST_OPAQUE * np.sqrt(share)[..., None]


def _write_inside(axes: Axes, text: str) -> None:
    axes.text(
        0.5,
        0.5,
        text,
        ha="center",
        va="center",
        fontsize=SMALL,
        transform=axes.transAxes,
        bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": "0.5", "alpha": 0.9},
    )


def _largest_drop(heats: Sequence[ClassHeat]) -> float:
    return max(*(float(item.heat.max()) for item in heats), 10 * _LEAST_DROP)


def _fitted(pixels: Any) -> Any:
    """Return an image with its longer side brought to what a panel shows well."""
    from PIL import Image

    height, width = pixels.shape[:2]
    longer = max(height, width)
    if longer < _LEAST_SIDE:
        times = -(-_LEAST_SIDE // longer)
        return pixels.repeat(times, axis=0).repeat(times, axis=1)
    picture = Image.fromarray(pixels)
    picture.thumbnail((_MAX_SIDE, _MAX_SIDE), Image.Resampling.BILINEAR)
    return np.asarray(picture)
