"""Colours that can be read on dark and on light terminals, and told apart by the colour-blind."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.style import Style

# Blue and vermilion, which the colour-blind tell apart. Their luminance is about 0.18: 4 to 1 and
# more against black and against white.
BLUE, VERMILION = (0, 118, 214), (205, 80, 0)
# Where there are 16 colours each terminal has its own; of these two every common one has a shade
# that stands out on black and on white.
_ACCENT_OF_16, _ALARM_OF_16 = "magenta", "red"
# From light to dark, so that shares can be told apart without seeing hues; the text on them is
# black or white, whatever the terminal's own colours are.
_RIGHT = ((170, 185, 200), (0, 80, 165))
_WRONG = ((205, 190, 170), (190, 60, 0))
_SMALLEST_SHADED_SHARE = 0.02
_SMALLEST_REVERSED_SHARE = 0.05


class Palette:
    """The styles that one console can show."""

    def __init__(self, console: Console) -> None:
        self._rich = console.color_system in ("256", "truecolor") and not console.no_color

    @property
    def accent(self) -> Style:
        """Of bars and frames."""
        return self._style(BLUE, _ACCENT_OF_16)

    @property
    def alarm(self) -> Style:
        """Of warnings."""
        return self._style(VERMILION, _ALARM_OF_16) + Style(bold=True)

    def cell(self, share: float, right: bool) -> Style:
        """Return the style of a cell of the confusion matrix.

        Args:
            share: Its share of the row, 0 to 1.
            right: Whether it counts right answers.
        """
        if share == 0:
            return Style(dim=True)
        if not self._rich:
            return Style(bold=right, reverse=not right and share >= _SMALLEST_REVERSED_SHARE)
        if share < _SMALLEST_SHADED_SHARE:
            return Style()
        light, dark = _RIGHT if right else _WRONG
        # The root keeps small shares of mistakes, which are the point of the matrix, visible.
        weight = math.sqrt(share)
        shade = [round(low + weight * (high - low)) for low, high in zip(light, dark, strict=True)]
        text = (
            (0, 0, 0) if contrast(shade, (0, 0, 0)) >= contrast(shade, (255,) * 3) else (255,) * 3
        )
        return Style.parse(f"{_hex(text)} on {_hex(shade)}")

    def _style(self, colour: Sequence[int], of_16: str) -> Style:
        return Style.parse(_hex(colour) if self._rich else of_16)


def contrast(first: Sequence[int], second: Sequence[int]) -> float:
    """Return the contrast of two sRGB colours, 1 to 21 (WCAG 2.2, "contrast ratio")."""
    low, high = sorted((_luminance(first), _luminance(second)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: Sequence[int]) -> float:
    parts = (value / 255 for value in colour)
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _hex(colour: Sequence[int]) -> str:
    return "#" + "".join(f"{value:02x}" for value in colour)
