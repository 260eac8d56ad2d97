"""The rich reporter: the run on the terminal, live, or as plain lines when piped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from tlkit import ConfigError, Phase, PhaseResult, Reporter, RunInfo, RunResult, printable
from tlkit.builtin.reporters import tables

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

LEAST_WIDTH = 60
PIPED_WIDTH = 80


class RichReporter(Reporter):
    """Shows the run on the terminal, live; as plain lines when piped."""

    name: ClassVar[str] = "rich"

    def __init__(self, width: int | None = None, *, console: Any = None) -> None:
        """Choose where to print.

        Args:
            width: Columns to use, 60 or more; by default those of the terminal, 80 when piped.
            console: A ``rich.console.Console``; by default one on standard output.
        """
        if width is not None and width < LEAST_WIDTH:
            raise ConfigError(
                f"[[reporters]] width = {width} is not allowed: {LEAST_WIDTH} or more."
            )
        self._width = width
        self._given = console
        self._console: Console | None = console
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self.options.pop("console", None)

    def on_run_begin(self, run: RunInfo, **kwargs: Any) -> None:
        """Print what is about to be trained on what."""
        self._print(tables.header(run))

    def on_extract_progress(
        self, split: str, done: int, total: int, seconds: float, **kwargs: Any
    ) -> None:
        """Show images/s and time left while features are computed."""
        if kwargs.get("stored"):
            self._stop()
            self._print(tables.line(f"Features ({split}): {total:,} images, already stored"))
        elif done >= total and total:
            self._stop()
            rate = f", {total / seconds:,.0f} images/s" if seconds > 0 else ""
            self._print(
                tables.line(f"Features ({split}): {total:,} images in {seconds:.1f} s{rate}")
            )
        else:
            self._advance(f"Features ({split})", done, total)

    def on_phase_begin(self, phase: Phase, **kwargs: Any) -> None:
        """Print the phase and the header of the epoch table."""
        self._stop()
        self._print(tables.phase_header(phase))

    def on_epoch_progress(
        self, phase: Phase, epoch: int, done: int, total: int, seconds: float, **kwargs: Any
    ) -> None:
        """Show images/s and time left within the epoch."""
        if done < total:
            self._advance(f"Epoch {epoch}/{phase.epochs}", done, total)

    def on_epoch_end(
        self, phase: Phase, epoch: int, metrics: Mapping[str, float], seconds: float, **kwargs: Any
    ) -> None:
        """Print the epoch's row."""
        self._stop()
        self._print(tables.epoch_row(phase, epoch, metrics, seconds))

    def on_phase_end(self, result: PhaseResult, **kwargs: Any) -> None:
        """Take the progress bar away."""
        self._stop()

    def on_run_end(self, result: RunResult, **kwargs: Any) -> None:
        """Print the figures, the classification report, the confusion matrix and the times."""
        self._stop()
        console = self._open()
        for part in tables.final(result, console.width):
            self._print(part)

    def on_error(self, error: BaseException, **kwargs: Any) -> None:
        """Leave a clean screen and one line of what happened."""
        self._stop()
        if isinstance(error, KeyboardInterrupt):
            self._print(tables.line("Interrupted."))
        else:
            first = (str(error).splitlines() or [""])[0]
            self._print(tables.line(f"Stopped: {type(error).__name__}: {first}"))

    def _open(self) -> Console:
        if self._console is None:
            from rich.console import Console

            self._console = Console(width=self._width, highlight=False)
            if self._width is None and not self._console.is_terminal:
                self._console.width = PIPED_WIDTH
        return self._console

    def _print(self, renderable: Any) -> None:
        console = self._open()
        if console.is_terminal:
            console.print(renderable)
            return
        # Rich fills lines with blanks, which are noise in a file.
        with console.capture() as capture:
            console.print(renderable)
        text = "\n".join(line.rstrip() for line in capture.get().splitlines())
        console.file.write(text + "\n")
        console.file.flush()

    def _advance(self, label: str, done: int, total: int) -> None:
        console = self._open()
        if not console.is_terminal:
            return
        if self._progress is None:
            self._progress = tables.make_progress(console)
            self._task = self._progress.add_task(label, total=total)
            self._progress.start()
        assert self._task is not None
        self._progress.update(self._task, description=printable(label), completed=done, total=total)

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress, self._task = None, None
