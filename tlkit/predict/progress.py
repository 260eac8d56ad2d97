"""Progress: how many pictures are done, how fast, and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tlkit.wording import rate

# Each refresh takes a lock and notes the time.
SECONDS_BETWEEN = 0.1


@contextmanager
def progress(total: int, *, shown: bool) -> Iterator[Callable[[], None]]:
    """Show one line on standard error while pictures are classified, and take it away at the end.

    Args:
        total: The number of pictures.
        shown: Whether to show it.

    Yields:
        What to call after each picture.
    """
    if not shown:
        yield lambda: None
        return
    from rich import progress as columns
    from rich.console import Console
    from rich.text import Text

    class Rate(columns.ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text(rate(task.speed))

    with columns.Progress(
        columns.TextColumn("pictures"),
        columns.BarColumn(),
        columns.MofNCompleteColumn(),
        Rate(),
        columns.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as display:
        task = display.add_task("pictures", total=total)
        done, told = 0, time.monotonic()

        def advance() -> None:
            nonlocal done, told
            done += 1
            if (now := time.monotonic()) - told > SECONDS_BETWEEN or done == total:
                display.update(task, completed=done)
                told = now

        yield advance
