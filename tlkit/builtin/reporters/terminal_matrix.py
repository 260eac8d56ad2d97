"""The confusion matrix in the terminal: a heat map of few classes, the top confusions of many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from tlkit import RunResult
from tlkit.builtin.reporters.terminal_colours import Palette
from tlkit.builtin.reporters.terminal_text import ConsoleText
from tlkit.wording import percent

if TYPE_CHECKING:
    import numpy as np

MAX_HEAT_MAP_CLASSES = 20
MAX_CONFUSIONS = 15
_NARROWEST_CELL, _WIDEST_CELL = 3, 8
_COUNT_CELLS, _SHARE_CELLS = 8, 14


class MatrixViews:
    """The views of one console; each is a list of lines."""

    def __init__(self, console: Console, text: ConsoleText, palette: Palette) -> None:
        self._console, self._text, self._palette = console, text, palette

    def confusion(self, result: RunResult) -> Iterator[Text]:
        """The whole matrix where it fits and is small, else what is confused most often."""
        few = len(result.info.class_names) <= MAX_HEAT_MAP_CLASSES
        heat_map = self._heat_map(result) if few else None
        yield from self._confusions(result) if heat_map is None else heat_map

    def _heat_map(self, result: RunResult) -> list[Text] | None:
        """Return the matrix in shades, or None if the console is too narrow."""
        names, matrix = result.info.class_names, result.test.confusion_matrix
        width = self._console.width
        widest_label = self._text.widest(names, 24) + 2
        label = max(min(widest_label, width - len(names) * 6), min(widest_label, 14))
        cell = min((width - label) // len(names), _WIDEST_CELL)
        if cell < _NARROWEST_CELL:
            return None
        label = min(widest_label, width - len(names) * cell)
        digits = len(str(matrix.max()))
        counts = digits + 1 <= cell
        shorten = self._text.fit if self._text.unicode else self._text.cut
        heads = [shorten(name, cell - 1) for name in names]
        escaped = any(self._text.safe(name) != name for name in names)
        cut = any(self._text.widest([name], cell) >= cell for name in names)
        letters = (cell < 6 and cut) or escaped or len(set(heads)) < len(heads)
        if letters:
            heads = [chr(ord("A") + index) for index in range(len(names))]
        unit = "images" if counts else "per cent of the row"
        heads_line = "".join(self._text.column(head, cell - 1, right=True) + " " for head in heads)
        lines = [
            _title("Confusion matrix", f"row = true class, column = predicted, {unit}"),
            Text(" " * label + heads_line.rstrip(), style="bold"),
        ]
        shares = _row_shares(matrix)
        for index, name in enumerate(names):
            title = f"{heads[index]} {name}" if letters else name
            line = Text(self._text.column(self._text.fit(title, label - 1), label))
            for column, share in enumerate(shares[index]):
                number = int(matrix[index, column]) if counts else round(100 * share)
                shown = "." if matrix[index, column] == 0 else str(number)
                style = self._palette.cell(float(share), index == column)
                line.append(f"{shown:>{cell - 1}} ", style=style)
            lines.append(line)
        return lines

    def _confusions(self, result: RunResult) -> Iterator[Text]:
        found = result.test.confusions(MAX_CONFUSIONS)
        if not found:
            yield Text("\nNo image of the test set was confused.", style="bold")
            return
        names = result.info.class_names
        head = f"True {self._text.arrow} predicted"
        room = self._console.width - _COUNT_CELLS - _SHARE_CELLS - len(self._text.arrow) - 2
        shown = [names[index] for true, predicted, _ in found for index in (true, predicted)]
        widest = self._text.widest(shown, room // 2)
        cells = max(2 * widest + len(self._text.arrow) + 2, len(head))
        yield _title("Most frequent confusions", "")
        columns = f"{'Images':>{_COUNT_CELLS}}{'Of the class':>{_SHARE_CELLS}}"
        yield Text(self._text.column(head, cells) + columns, style="bold")
        shares = _row_shares(result.test.confusion_matrix)
        for true, predicted, count in found:
            left, right = (self._text.fit(names[index], widest) for index in (true, predicted))
            pair = self._text.column(f"{left} {self._text.arrow} {right}", cells)
            share = percent(shares[true, predicted])
            yield Text(f"{pair}{count:>{_COUNT_CELLS},}{share:>{_SHARE_CELLS}}")


def _title(title: str, what: str) -> Text:
    line = Text(f"\n{title}", style="bold")
    return line.append(f": {what}", style="not bold") if what else line


def _row_shares(matrix: np.ndarray) -> np.ndarray:
    import numpy as np

    shares: np.ndarray = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    return shares
