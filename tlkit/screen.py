"""Screen: messages and tables of the command line, at any width and in a pipe."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Literal, TextIO

from tlkit.text import printable

Row = Sequence[str]

# How lines begin that end in a command.
GO_ON, RUN_AGAIN = "Go on: ", "Run again: "


def say(text: str, stream: TextIO | None = None) -> None:
    """Write lines to stderr, or another stream; in a terminal they are wrapped between words.

    A command stays one line, so that what is copied is what a shell takes.
    """
    stream = sys.stderr if stream is None else stream
    try:
        width = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError, AttributeError):  # no terminal; closed; replaced by the caller
        width = 0
    for line in map(printable, text.splitlines()):
        if width and not line.startswith((GO_ON, RUN_AGAIN)):
            line = textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
        print(line, file=stream)


def echo(text: str) -> None:
    """Print a line to stdout."""
    print(printable(text))


def echo_lines(text: str) -> None:
    """Print lines to stdout at once, though it be a pipe."""
    for line in text.splitlines():
        echo(line)
    sys.stdout.flush()


def show_table(
    header: Row, rows: Sequence[Row], spare: Sequence[str] = (), numbers: Sequence[str] = ()
) -> None:
    """Print a table; in a pipe a row is one line, for grep and its like.

    Args:
        header: The names of the columns.
        rows: For each row one text for each column.
        spare: Columns to leave out where a terminal is too narrow, the first of them first.
        numbers: Columns to set flush right.
    """
    safe = [tuple(map(printable, row)) for row in rows]
    if not sys.stdout.isatty():
        _print_lines([tuple(header), *safe], [name in numbers for name in header])
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    shown = list(header)
    for name in spare:
        places = [header.index(item) for item in shown]
        widths = [max(len(row[place]) for row in [header, *safe]) for place in places]
        # Between columns rich has the padding and one cell for the line that this box leaves out.
        if sum(widths) + 3 * (len(widths) - 1) > console.width:
            shown.remove(name)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    for name in shown:
        justify: Literal["left", "right"] = "right" if name in numbers else "left"
        table.add_column(name, overflow="fold", justify=justify)
    for row in safe:
        table.add_row(*(Text(row[header.index(name)]) for name in shown))
    console.print(table)


def show_groups(groups: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    """Print names and what they are in a terminal, under the headings that they belong to."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    names = [printable(name) for rows in groups.values() for name, _ in rows]
    widest = min(max(map(len, names), default=0), console.width // 2)
    for heading, rows in groups.items():
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=widest, overflow="fold")
        table.add_column(overflow="fold")
        for name, text in rows:
            table.add_row(Text(printable(name)), Text(printable(text)))
        console.print(Text(heading, style="bold"), Padding(table, (0, 0, 1, 2)))


def _print_lines(rows: Sequence[Row], right: Sequence[bool]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        )
        print("  ".join(cells).rstrip())
