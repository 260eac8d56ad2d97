"""Interruption: Ctrl-C or SIGTERM ends a run at once, and says what was kept and how to go on."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from tlkit.records import Phase, PhaseResult, RunInfo
from tlkit.reporter import Reporter
from tlkit.screen import GO_ON, RUN_AGAIN

_STAGES = {
    "start": "starting TensorFlow",
    "data": "loading the data",
    "model": "building the model",
    "evaluation": "testing",
    "saving": "saving",
    "reports": "writing the reports",
}
_MOST_FILES = 6


class Interrupted(KeyboardInterrupt):
    """An interrupt that says in its text what was kept and how to go on.

    Attributes:
        command: What goes on, as a shell takes it.
    """

    def __init__(self, text: str, command: str, begins: str = GO_ON) -> None:
        """Put the text and the command together.

        Args:
            text: Where it was, and what was kept.
            command: What goes on, as a shell takes it.
            begins: How the line of the command begins.
        """
        super().__init__(f"{text}\n{begins}{command}")
        self.command = command


class Watch(Reporter):
    """Follows a run from beside the reporters, and knows what an interrupt leaves.

    Within ``with`` an interrupt that Python drops, as it does where one falls into a destructor, is
    raised again at the next event of the run.
    """

    name: ClassVar[str] = "interruption"

    def __init__(self, command: str, folder: Path | None = None, *, trained: bool = False) -> None:
        """Note what to give again.

        Args:
            command: The command that was given, as a shell takes it.
            folder: That of a run that is resumed.
            trained: Whether a state of its training is kept there.
        """
        self._command = command
        # The reporters may show this stage before it is told here.
        self._doing = f"while {_STAGES['start']}"
        self._folder = folder
        self._trained = trained
        self._features = self._epochs = False
        self._interrupted = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Take over Ctrl-C, and SIGTERM, by which batch systems end a job.

        In another thread than the main one, Python does not allow that.
        """
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Give both back, and say what was kept.

        Raises:
            Interrupted: In place of a ``KeyboardInterrupt``.
        """
        for number, before in self._before.items():
            if before is not None:  # one that Python knows
                signal.signal(number, before)
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            raise self.interrupted() from None

    def interrupted(self) -> Interrupted:
        """Return an error: where the run is, what is kept of it so far, and how to go on."""
        kept = ["the features that are stored"] if self._features else []
        if self._epochs:
            kept.append("the training up to there")
        elif self._trained:
            kept.append("what was trained before")
        command, begins = self._command, RUN_AGAIN
        if self._folder is not None:
            kept.append(f"{self._folder} with {_files(self._folder)}")
            command, begins = command_line(["resume", str(self._folder)]), GO_ON
        where = f" {self._doing}" if self._doing else ""
        said = f"Kept: {'; '.join(kept)}." if kept else "Nothing was kept yet."
        return Interrupted(f"Interrupted{where}.\n{said}", command, begins)

    def on_stage(self, stage: str, **kwargs: Any) -> None:
        """Note what the run is at."""
        self._note(f"while {_STAGES.get(stage, stage)}")

    def on_run_begin(self, run: RunInfo, **kwargs: Any) -> None:
        """Note the folder."""
        self._folder = run.folder
        self._note(self._doing)

    def on_extract_progress(
        self, split: str, done: int, total: int, seconds: float, **kwargs: Any
    ) -> None:
        """Note how many images' features are stored."""
        kept = int(kwargs.get("kept", 0))
        self._features = self._features or kept > 0
        if not done:
            self._note(f"while preparing the features of {split}")
            return
        # Batches that fill no whole shard are computed again.
        count = f"{kept:,} of {total:,} images are stored" if kept else "none are stored yet"
        then = ", and the next run goes on after them" if kept else ""
        self._note(f"while computing features of {split}: {count}{then}")

    def on_phase_begin(self, phase: Phase, **kwargs: Any) -> None:
        """Note the phase."""
        self._note(f"in phase {phase.name}")

    def on_epoch_progress(
        self, phase: Phase, epoch: int, done: int, total: int, seconds: float, **kwargs: Any
    ) -> None:
        """Note the epoch."""
        self._note(f"in epoch {epoch} of {phase.epochs}, phase {phase.name}")

    def on_epoch_end(
        self, phase: Phase, epoch: int, metrics: Mapping[str, float], seconds: float, **kwargs: Any
    ) -> None:
        """Note that the epoch is kept."""
        self._epochs = True
        self._note(f"after epoch {epoch} of {phase.epochs}, phase {phase.name}")

    def on_phase_end(self, result: PhaseResult, **kwargs: Any) -> None:
        """Note the end of the phase."""
        self._note(f"after phase {result.phase.name}")

    def _note(self, doing: str) -> None:
        self._doing = doing
        if self._interrupted:
            raise KeyboardInterrupt

    def _interrupt(self, *args: object) -> None:
        self._interrupted = True
        raise KeyboardInterrupt


def command_line(arguments: Sequence[str]) -> str:
    """Return the command that this process was started with, as a shell takes it.

    Args:
        arguments: What followed the name of the program.
    """
    as_module = Path(sys.argv[0]).name == "__main__.py"
    return shlex.join([*(["python", "-m"] if as_module else []), "tlkit", *arguments])


def exit_on_next_interrupt() -> None:
    """Let another Ctrl-C end the process without a word; for when all has been said."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _files(folder: Path) -> str:
    try:
        found = sorted(item.name for item in folder.iterdir() if not item.name.startswith("."))
    except OSError:
        found = []
    more = f" and {len(found) - _MOST_FILES} more" if len(found) > _MOST_FILES else ""
    return ", ".join(found[:_MOST_FILES]) + more or "nothing"
