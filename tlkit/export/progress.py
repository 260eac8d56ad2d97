"""Progress: one line that says what is being done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

Tell = Callable[[str], None]


class StepLine:
    """A line on standard error with the step that is done and its time; away at the end.

    Args:
        shown: Whether to show it.
    """

    def __init__(self, *, shown: bool) -> None:
        self._display: Any = None
        if not shown:
            return
        from rich import progress
        from rich.console import Console

        self._display = progress.Progress(
            progress.SpinnerColumn(),
            progress.TextColumn("{task.description}", markup=False),
            progress.TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,  # it would end on standard error
            refresh_per_second=4,
        )
        self._task = self._display.add_task("")

    def __enter__(self) -> Self:
        if self._display is not None:
            self._display.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._display is not None:
            self._display.stop()

    def tell(self, text: str) -> None:
        """Say what is done now."""
        if self._display is not None:
            self._display.reset(self._task, description=text)
            self._display.refresh()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Take the line away while something else is printed."""
        self.__exit__(None, None, None)
        try:
            yield
        finally:
            self.__enter__()
