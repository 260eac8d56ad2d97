"""RichReporter: shows a run in the terminal, and as plain lines where there is none."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, TypeVar, cast

from rich.console import Console, RenderableType
from rich.errors import LiveError
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column
from rich.text import Text

from tlkit import ConfigError, EngineTrial, Phase, PhaseResult, Reporter, RunInfo, RunResult
from tlkit.builtin.reporters.terminal_text import clock, plural, rate
from tlkit.builtin.reporters.terminal_views import Views

MIN_WIDTH = 40
_SECONDS_BETWEEN_DRAWS = 0.1
_MethodT = TypeVar("_MethodT", bound=Callable[..., None])


class _PatientConsole(Console):
    """A console whose reader may leave, as ``head`` does, without ending the run."""

    def on_broken_pipe(self) -> None:
        """Show nothing any more; Rich would exit."""
        self.quiet = True
        # Else the interpreter complains on exit about what stdout still holds.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _leaves_no_display(method: _MethodT) -> _MethodT:
    """Stop the live display if a method raises: a reporter that raised is never called again."""

    @functools.wraps(method)
    def guarded(self: RichReporter, *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except BaseException:
            self._stop()
            raise

    return cast(_MethodT, guarded)


class RichReporter(Reporter):
    """Show progress, epochs and results in the terminal."""

    name: ClassVar[str] = "rich"

    def __init__(self, width: int | None = None, *, console: Console | None = None) -> None:
        """Choose where to write.

        Args:
            width: Columns to use, 40 or more; by default those of the terminal.
            console: A ``rich.console.Console`` to write to, in Python only; by default stdout.

        Raises:
            ConfigError: If ``width`` is too small.
        """
        if width is not None and width < MIN_WIDTH:
            raise ConfigError(f"[[reporters]] width = {width} is not allowed: {MIN_WIDTH} or more.")
        # A console cannot be written down, and the run is the same without it.
        self.options.pop("console", None)
        self.console = console if console is not None else _PatientConsole(width=width)
        self._views = Views(self.console)
        self._progress: Progress | None = None
        self._live = self.console.is_terminal and self.console.is_interactive
        self._drawn = 0.0
        self._activity = ""

    @_leaves_no_display
    def on_run_begin(self, run: RunInfo, **kwargs: Any) -> None:
        """Show what is about to run."""
        self._stop()
        self._activity = ""
        self._print(self._views.run_header(run))

    @_leaves_no_display
    def on_extract_progress(
        self, split: str, done: int, total: int, seconds: float, **kwargs: Any
    ) -> None:
        """Draw a bar; leave one line when the split is finished."""
        title = f"Features of {self._views.text.fit(split, 40)}"
        self._activity = f"extracting features of {split} ({done:,} of {total:,})"
        if done < total:
            if done == 0 and not self._live:
                self._print([Text(f"{title}: {plural(total, 'image')}")])
            self._draw(title, done, total, seconds)
            return
        self._stop()
        self._activity = ""
        speed = rate(total, seconds)
        line = f"{plural(total, 'image')} in {seconds:.1f} s" + (f" ({speed})" if speed else "")
        self._print([Text(f"{title}: {'already stored' if kwargs.get('stored') else line}")])

    @_leaves_no_display
    def on_engine_chosen(self, name: str, trials: tuple[EngineTrial, ...], **kwargs: Any) -> None:
        """Show which engine runs the backbone, and why."""
        self._stop()
        self._print(self._views.engine(name, trials))

    @_leaves_no_display
    def on_phase_begin(self, phase: Phase, **kwargs: Any) -> None:
        """Show what the phase trains, and the head of the epoch table."""
        self._stop()
        self._activity = f"phase {phase.name}"
        self._print(self._views.phase_header(phase))

    @_leaves_no_display
    def on_epoch_progress(
        self, phase: Phase, epoch: int, done: int, total: int, seconds: float, **kwargs: Any
    ) -> None:
        """Draw a bar."""
        self._activity = f"epoch {epoch} of phase {phase.name}"
        self._draw(f"Epoch {epoch}/{phase.epochs}", done, total, seconds)

    @_leaves_no_display
    def on_epoch_end(
        self, phase: Phase, epoch: int, metrics: Mapping[str, float], seconds: float, **kwargs: Any
    ) -> None:
        """Add a line to the epoch table."""
        self._print([self._views.epoch_line(phase, epoch, metrics, seconds)])

    @_leaves_no_display
    def on_phase_end(self, result: PhaseResult, **kwargs: Any) -> None:
        """Take the bar away, and show what was chosen."""
        self._stop()
        self._print(self._views.phase_end(result))
        self._activity = ""

    @_leaves_no_display
    def on_run_end(self, result: RunResult, **kwargs: Any) -> None:
        """Show the results."""
        self._stop()
        self._print(self._views.result(result))

    @_leaves_no_display
    def on_error(self, error: BaseException, **kwargs: Any) -> None:
        """Give the terminal back, and say in one line what happened."""
        self._stop()
        where = f" in {self._activity}" if self._activity else ""
        what = "Interrupted" if isinstance(error, KeyboardInterrupt) else "Failed"
        message = f"{what}{where}"
        if not isinstance(error, KeyboardInterrupt):
            first = next(iter(str(error).splitlines()), "")
            message += f": {type(error).__name__}" + (f": {first}" if first else "")
        fitted = self._views.text.fit(message, self._views.width)
        self._print([Text(fitted, style="bold red")])

    def _print(self, items: Iterable[RenderableType]) -> None:
        for item in items:
            self.console.print(item, highlight=False)

    def _draw(self, title: str, done: int, total: int, seconds: float) -> None:
        if not self._live:
            return
        now = time.monotonic()
        if self._progress and done < total and now - self._drawn < _SECONDS_BETWEEN_DRAWS:
            return
        self._drawn = now
        speed = rate(done, seconds)
        left = f"{clock(seconds / done * (total - done))} left" if speed else ""
        state = "  ".join(part for part in (f"{done:,}/{total:,}", speed, left) if part)
        if self._progress is None:
            self._start(title, done, total, state)
            return
        self._progress.update(
            self._progress.task_ids[0], description=title, completed=done, total=total, state=state
        )
        self._progress.refresh()

    def _start(self, title: str, done: int, total: int, state: str) -> None:
        # No refresh thread: it would take time from the training, and outlive an error.
        progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[state]}", markup=False, table_column=Column(no_wrap=True)),
            console=self.console,
            auto_refresh=False,
            transient=True,
            expand=True,
        )
        progress.add_task(title, completed=done, total=total, state=state)
        try:
            progress.start()
        except LiveError:  # the program that called the Trainer shows a display of its own
            self._live = False
            return
        self._progress = progress

    def _stop(self) -> None:
        progress, self._progress = self._progress, None
        if progress is not None:
            progress.stop()
