"""Drawing: figures without a window, and text from outside as it is written."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from tlkit.atomic import atomic_path
from tlkit.errors import RunFolderError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

LARGE, MEDIUM, SMALL = 15, 13, 11
DPI = 100
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


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches."""
    # Not pyplot: it keeps every figure in a global list and may want a window.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def as_written(text: Text, size: float) -> None:
    """Show user text as it is: ``$`` starts no formula, and most scripts have their glyphs."""
    from matplotlib import font_manager

    known = set(font_manager.fontManager.get_font_names())
    text.set_parse_math(False)
    text.set_fontfamily(["DejaVu Sans", *(name for name in _FALLBACK_FONTS if name in known)])
    text.set_fontsize(size)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; its folder is made if it is missing.

    Raises:
        RunFolderError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            figure.savefig(temporary, dpi=DPI, format="png", facecolor="white")
    except OSError as err:
        raise RunFolderError(
            f"Cannot write {path}: {err.strerror or err}. Choose another folder with --out DIR."
        ) from err
