"""Drawing: figures without a window, and text from outside as it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from tlkit.text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# Sizes of letters, in points, that can be read where 1,000 pixels are shown as 700.
LARGE, MEDIUM, SMALL = 15, 13, 11
_NAME_CELLS, _TAIL_CELLS = 16, 6
# Inches around what is drawn.
_PAD = 0.1
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
    """Return an empty figure of so many inches, with a canvas that needs no screen."""
    # Not pyplot: it keeps every figure in a global list and may want a window.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=_PAD, h_pad=_PAD)  # type: ignore[call-arg, union-attr]
    FigureCanvasAgg(figure)
    return figure


def short_name(name: str) -> str:
    """Return a name for a label; Chinese characters and the like take the room of two.

    A long one loses its middle, as names of classes often differ at the end.
    """
    shown = printable(name)
    if cell_len(shown) <= _NAME_CELLS:
        return shown
    head = set_cell_size(shown, _NAME_CELLS - _TAIL_CELLS - 1).rstrip()
    tail = set_cell_size(shown[::-1], _TAIL_CELLS).rstrip()[::-1]
    return f"{head}…{tail.lstrip()}"


def as_written(text: Text, size: float) -> None:
    """Show user text as it is: ``$`` starts no formula, and most scripts have their glyphs."""
    from matplotlib import font_manager

    known = set(font_manager.fontManager.get_font_names())
    text.set_parse_math(False)
    text.set_fontfamily(["DejaVu Sans", *(name for name in _FALLBACK_FONTS if name in known)])
    text.set_fontsize(size)
