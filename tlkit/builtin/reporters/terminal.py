"""RichReporter: shows a run in the terminal, and as plain lines where there is none."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, TypeVar, cast

from rich.console import Console, RenderableType
from rich.text import Text

from tlkit import ConfigError, EngineTrial, Phase, PhaseResult, Reporter, RunInfo, RunResult
from tlkit.builtin.reporters.terminal_display import Display, undisturbed
from tlkit.builtin.reporters.terminal_progress import ExtractionProgress, PhaseProgress
from tlkit.builtin.reporters.terminal_views import Views

MIN_WIDTH = 40
# Where nothing can be drawn again, a long extraction says so often how far it is.
SECONDS_BETWEEN_LINES = 60.0
_STAGES = {
    "start": "Starting TensorFlow",
    "data": "Loading the data",
    "model": "Building the model",
    "evaluation": "Testing",
    "saving": "Saving",
    "reports": "Writing the reports",
}
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
            self._display.stop()
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
        self._display = Display(self.console)
        self._extraction: ExtractionProgress | None = None
        self._phase: PhaseProgress | None = None
        self._said_at = 0.0

    @_leaves_no_display
    def on_stage(self, stage: str, **kwargs: Any) -> None:
        """Show what is going on."""
        self._display.hint(self._views.text.safe(_STAGES.get(stage, stage)))

    @_leaves_no_display
    def on_run_begin(self, run: RunInfo, **kwargs: Any) -> None:
        """Show what is about to run."""
        self._print(self._views.run_header(run))

    @_leaves_no_display
    def on_extract_progress(
        self, split: str, done: int, total: int, seconds: float, **kwargs: Any
    ) -> None:
        """Draw a bar; leave one line when the split is finished."""
        progress, begins = self._extraction, False
        if progress is None or progress.split != split:
            progress, begins = ExtractionProgress(split, total), True
            self._extraction, self._said_at = progress, 0.0
        progress.update(done, seconds)
        training = self._views.training
        if done >= total:
            self._extraction = None
            self._print([training.extraction_end(progress, bool(kwargs.get("stored")))])
        elif self._display.usable:
            cells = self._display.cells
            self._display.draw(lambda: training.extraction(progress, cells), now=begins)
        elif seconds - self._said_at >= SECONDS_BETWEEN_LINES:
            self._said_at = seconds
            self._print([training.extraction_line(progress)])

    @_leaves_no_display
    def on_engine_chosen(self, name: str, trials: tuple[EngineTrial, ...], **kwargs: Any) -> None:
        """Show which engine runs the backbone, and why."""
        self._print(self._views.engine(name, trials))

    @_leaves_no_display
    def on_phase_begin(self, phase: Phase, **kwargs: Any) -> None:
        """Show what the phase trains, and the head of the epoch table."""
        training = self._views.training
        self._phase = PhaseProgress(phase)
        if not phase.steps:
            if self._display.usable:
                line = training.solving(phase)
                self._display.draw(lambda: [_cropped(line, self._display.cells)])
            else:
                self._print([training.solving(phase)])
            return
        self._print([Text(), *training.phase_header(phase)])
        if self._display.usable:
            self._draw_phase(now=True)
        else:
            self._print([training.epoch_head(phase)])

    @_leaves_no_display
    def on_epoch_progress(
        self, phase: Phase, epoch: int, done: int, total: int, seconds: float, **kwargs: Any
    ) -> None:
        """Draw how far the phase is."""
        self._follow(phase).update(epoch, done, total, seconds)
        self._draw_phase()

    @_leaves_no_display
    def on_epoch_end(
        self, phase: Phase, epoch: int, metrics: Mapping[str, float], seconds: float, **kwargs: Any
    ) -> None:
        """Show the figures; where nothing can be drawn again, as a line of the epoch table."""
        self._follow(phase).end_epoch(epoch, metrics, seconds)
        if self._display.usable:
            self._draw_phase()
        elif phase.steps:
            self._print([self._views.training.epoch_line(phase, epoch, metrics, seconds)])

    @_leaves_no_display
    def on_phase_end(self, result: PhaseResult, **kwargs: Any) -> None:
        """Take the bar away, and show what was chosen."""
        progress, self._phase = self._phase, None
        training = self._views.training
        if not result.phase.steps:
            self._print([training.solved(result)])
            return
        if progress is not None and self._display.usable:
            self._print(training.epochs(progress, result.kept_epoch))
        self._print(training.phase_end(result))

    @_leaves_no_display
    def on_run_end(self, result: RunResult, **kwargs: Any) -> None:
        """Show the results."""
        self._print(self._views.result(result))

    @_leaves_no_display
    def on_error(self, error: BaseException, **kwargs: Any) -> None:
        """Give the terminal back, with the epochs so far; the caller shows the error."""
        progress, self._phase, self._extraction = self._phase, None, None
        self._display.stop()
        if progress is not None and progress.phase.steps and self._display.usable:
            self._print(self._views.training.epochs(progress))

    def _print(self, items: Iterable[RenderableType]) -> None:
        with undisturbed():
            self._display.stop()
            for item in items:
                if isinstance(item, Text) and not self.console.is_terminal:
                    for line in item.wrap(self.console, self.console.width):
                        line.rstrip()
                        self.console.print(line, highlight=False)
                else:
                    self.console.print(item, highlight=False)

    def _follow(self, phase: Phase) -> PhaseProgress:
        if self._phase is None:
            self._phase = PhaseProgress(phase)
        return self._phase

    def _draw_phase(self, now: bool = False) -> None:
        progress, cells = self._phase, self._display.cells
        if progress is not None:
            self._display.draw(lambda: self._views.training.phase(progress, cells), now=now)


def _cropped(line: Text, cells: int) -> Text:
    line.truncate(cells)
    return line
