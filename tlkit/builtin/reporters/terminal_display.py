"""Display: a few lines at the bottom of a terminal that are drawn again and again."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from rich.console import Console, Group
from rich.control import Control
from rich.errors import LiveError
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

SECONDS_BETWEEN_DRAWS = 0.1
MAX_CELLS = 100
_CLEAR_LINE = Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let Ctrl-C wait until what is being written is whole; half a frame could not be removed."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    waiting: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: waiting.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if waiting:
            handler(*waiting[0])


class Display:
    """The live lines of one console; on a console that cannot show them it does nothing.

    Attributes:
        usable: Whether the console can show them.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        # FORCE_COLOR makes Rich take a pipe for a terminal.
        forced = bool(os.environ.get("FORCE_COLOR")) and not console.file.isatty()
        self.usable = console.is_terminal and console.is_interactive and not forced
        self._live: Live | None = None
        self._drawn_at = 0.0
        self._console_cells = 0
        self._lengths: list[int] = []
        self._hinted = False

    @property
    def cells(self) -> int:
        """Cells in a line: fewer than the console's, as a full line may wrap."""
        return min(self._console.width - 2, MAX_CELLS)

    def hint(self, text: str) -> None:
        """Show a word of what is going on, in a way that whatever is printed next overwrites it.

        Downloads and imports print to the terminal themselves, which live lines would hold back.
        """
        with undisturbed():
            self.stop()
            if self.usable:
                self._console.print(Text(text[: self.cells]), end="\r", highlight=False)
                self._hinted = True

    def draw(self, lines: Callable[[], Sequence[Text]], now: bool = True) -> None:
        """Show some lines in place of those before.

        Args:
            lines: Gives the lines, none of more than ``cells``; not called if it is too early.
            now: Whether to draw even if the last time is less than a tenth of a second ago.
        """
        if not self.usable:
            return
        clock = time.monotonic()
        if not now and self._live is not None and clock - self._drawn_at < SECONDS_BETWEEN_DRAWS:
            return
        self._drawn_at = clock
        drawn = list(lines())
        with undisturbed():
            if self._live is None and not self._start():
                return
            assert self._live is not None
            self._mind_narrowing()
            self._lengths = [line.cell_len for line in drawn]
            self._live.update(Group(*drawn), refresh=True)

    def stop(self) -> None:
        """Take the lines away, and show the cursor again."""
        with undisturbed():
            if self._hinted:
                self._hinted = False
                self._console.control(_CLEAR_LINE)
            live, self._live = self._live, None
            if live is not None:
                self._mind_narrowing()
                live.stop()
            self._lengths = []

    def _start(self) -> bool:
        self.stop()
        # No refresh thread: it would take time from the training, and outlive an error.
        self._live = Live(
            console=self._console, auto_refresh=False, transient=True, vertical_overflow="crop"
        )
        self._console_cells, self._lengths = self._console.width, []
        try:
            self._live.start()
        except LiveError:  # the program that called the Trainer shows a display of its own
            self._live, self.usable = None, False
        return self.usable

    def _mind_narrowing(self) -> None:
        """Go up over the rows that the lines have more, since the terminal wrapped them."""
        width, before = self._console.width, self._console_cells
        self._console_cells = width
        if width >= before:
            return
        extra = sum(max(0, -(-length // width) - 1) for length in self._lengths)
        up = ((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1))
        self._console.control(Control(*(up * extra)))
