"""Markdown of text that may hold anything: escaping, tables, code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tlkit.text import printable

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~$&#@:!])")
# What begins a list, a heading or a rule where it stands first.
_BAR = re.compile(r"(?<!\\)\|")
_FIRST = re.compile(r"^(\d*)([-+=.)])")


def escape(text: str) -> str:
    r"""Return text that Markdown shows as it is, in a paragraph, a list or a table's cell.

    Control characters become ``\xNN`` and the like first; see ``tlkit.printable``.
    """
    shown = _SPECIAL.sub(r"\\\1", printable(text).strip())
    return _FIRST.sub(r"\1\\\2", shown)


def code(text: str) -> str:
    """Return text as code within a line, also within a table's cell."""
    shown = printable(text)
    ticks = "`" * (_longest_run(shown) + 1)
    # Spaces beside the ticks are no part of the code.
    room = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{ticks}{room}{shown}{room}{ticks}" if shown else ""


def block(text: str, language: str = "") -> list[str]:
    """Return the lines of a block of code."""
    ticks = "`" * max(3, _longest_run(text) + 1)
    return [f"{ticks}{language}", *text.rstrip("\n").split("\n"), ticks, ""]


def table(
    header: Sequence[str], rows: Iterable[Sequence[object]], align: Sequence[str] = ()
) -> list[str]:
    """Return the lines of a table; the cells are Markdown already.

    Args:
        header: The names of the columns.
        rows: The cells.
        align: ``"l"`` or ``"r"`` for each column; by default numbers' columns, all but the first,
            to the right.
    """
    align = align or ("l", *("r" * (len(header) - 1)))
    rule = ["---:" if side == "r" else "---" for side in align]
    # A bar ends a cell even within code.
    lines = [[_BAR.sub(r"\\|", str(cell)) for cell in cells] for cells in (header, rule, *rows)]
    return [f"| {' | '.join(cells)} |" for cells in lines] + [""]


def listed(items: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
