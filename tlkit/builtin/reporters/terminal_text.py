"""Text for a console: safe, of a known width, and in the console's encoding."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console

from tlkit import printable
from tlkit.wording import clock

_LIMIT = 1000
_SPARKS, _ASCII_SPARKS = "▁▂▃▄▅▆▇█", "_.-~=+*#"


class ConsoleText:
    """Turns text from outside into text that one console can show."""

    def __init__(self, console: Console) -> None:
        self.unicode = console.encoding.lower().startswith("utf")
        self._encoding = console.encoding

    @property
    def ellipsis(self) -> str:
        """What stands for the part that was cut."""
        return "…" if self.unicode else "..."

    @property
    def arrow(self) -> str:
        """What points from the true class to the predicted one."""
        return "→" if self.unicode else "->"

    @property
    def pointer(self) -> str:
        """What points from a remark to the row before it."""
        return "←" if self.unicode else "<-"

    @property
    def line(self) -> str:
        """What a horizontal line is made of."""
        return "─" if self.unicode else "-"

    def sparkline(self, values: Sequence[float], cells: int) -> str:
        """Return values as one character each, the lowest as the lowest one.

        Values that are not finite become ``?``. More values than cells are put together, each
        character then stands for the mean of a stretch.
        """
        if len(values) > cells:
            edges = [round(index * len(values) / cells) for index in range(cells + 1)]
            values = [_mean(values[low:high]) for low, high in itertools.pairwise(edges)]
        finite = [value for value in values if math.isfinite(value)]
        sparks = _SPARKS if self.unicode else _ASCII_SPARKS
        if not finite:
            return "?" * len(values)
        low, high = min(finite), max(finite)
        step = (high - low) / (len(sparks) - 1)
        return "".join(
            sparks[round((value - low) / step) if step else 0] if math.isfinite(value) else "?"
            for value in values
        )

    def bar(self, share: float, cells: int) -> str:
        """Return a bar of at most so many cells for a share from 0 to 1."""
        share = min(max(share, 0.0), 1.0)
        if not self.unicode:
            return "#" * round(share * cells)
        whole, half = divmod(round(share * cells * 2), 2)
        return "━" * whole + "╸" * half

    def safe(self, text: object) -> str:
        """Escape control characters and what the console cannot encode."""
        shown = printable(str(text), _LIMIT)
        if self.unicode:
            return shown
        shown = shown.replace("…", "...")
        return shown.encode(self._encoding, "backslashreplace").decode(self._encoding)

    def fit(self, text: object, cells: int) -> str:
        """Return safe text of at most so many cells, cut with an ellipsis."""
        shown = self.safe(text)
        if cell_len(shown) <= cells:
            return shown
        return self.cut(shown, cells - len(self.ellipsis)) + self.ellipsis

    def cut(self, text: object, cells: int) -> str:
        """Return the first cells of safe text, without an ellipsis."""
        shown = self.safe(text)
        if cell_len(shown) <= cells:
            return shown
        return set_cell_size(shown, max(cells, 0)).rstrip()

    def column(self, text: object, cells: int, right: bool = False) -> str:
        """Return safe text of exactly so many cells."""
        shown = self.fit(text, cells)
        padding = " " * (cells - cell_len(shown))
        return padding + shown if right else shown + padding

    def widest(self, texts: Sequence[object], limit: int) -> int:
        """Return the cells that the widest of some texts needs, at most ``limit``."""
        return min(limit, max((cell_len(self.safe(text)) for text in texts), default=0))


def time_left(seconds: float | None) -> str:
    """Return how long something still takes, or an empty text if nothing can be said yet."""
    return "" if seconds is None else f"{clock(seconds)} left"


def duration(seconds: float) -> str:
    """Return a duration as ``12.3 s``, or from a minute on as ``1:23``."""
    return f"{seconds:.1f} s" if seconds < 60 else clock(seconds)


def describe(table: object, without: Sequence[str] = ()) -> str:
    """Return a plugin's name and its plain options from a config, on one line."""
    if not isinstance(table, Mapping):
        return "" if table is None else str(table)
    options = ", ".join(
        f"{key} {_value(value)}"
        for key, value in table.items()
        if key != "name" and key not in without and _is_plain(value)
    )
    name = str(table.get("name", "?"))
    return f"{name}: {options}" if options else name


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return 0 < len(value) <= 8 and all(_is_plain(item) for item in value)
    return isinstance(value, bool | int | float | str | Path)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    text = printable(f"{value:g}" if isinstance(value, float) else str(value))
    return text if len(text) <= 60 else text[:29] + "…" + text[-30:]
