"""Checkpoints: the state of training after epochs, kept in the run folder until a run ends."""

from __future__ import annotations

import re
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit.atomic import atomic_path
from tlkit.beginning import BEGUN, Lost, check_same, doubts, read_begun
from tlkit.callback_state import CallbackState
from tlkit.checked_json import write_checked_json
from tlkit.model_file import load_model_file
from tlkit.records import PhaseResult
from tlkit.training_state import TrainingState, read_state, write_state

if TYPE_CHECKING:
    import keras

CHECKPOINT = ".checkpoint"
# A state is kept at most so often, and not before so many times the seconds that the last one took.
SECONDS_BETWEEN, _REST = 1.0, 10
_RESUMED = "Resumed after an interruption"
_UNCHECKED = (
    "it cannot be checked that data, weights and settings are those that the run began with"
)
_PHASE = re.compile(r"phase-(\d{1,4})\.(?:npz|keras)").fullmatch


@dataclass
class Checkpoints:
    """The states of a run's phases, each in a file that is replaced after epochs.

    Attributes:
        folder: Where they are kept; None to keep none.
        warnings: Where it is noted that a state could not be kept or read.
        resumed: Whether an earlier process began the run.
        missing: Whether the folder was not there when the run was resumed.
        restored_seconds: Wall-clock seconds of training that earlier processes have done.
        seconds: Wall-clock seconds that this process spent on keeping states.
    """

    folder: Path | None = None
    warnings: list[str] = field(default_factory=list)
    resumed: bool = False
    missing: bool = False
    restored_seconds: float = 0.0
    seconds: float = 0.0
    _pending: tuple[int, TrainingState] | None = None
    _due: float = 0.0
    _facts: dict[str, Any] | None = None
    _lost: Lost = ""
    _phases: dict[str, str] = field(default_factory=dict)
    _anew: set[int] = field(default_factory=set)

    def save(self, number: int, state: TrainingState) -> None:
        """Keep the state of a phase; where the disk does not take it, say so.

        Args:
            number: The phase, from 0.
            state: Its state.
        """
        if self.folder is None:
            return
        begin = time.monotonic()
        try:
            self.folder.mkdir(exist_ok=True)
            with atomic_path(self._file(number)) as temporary, temporary.open("wb") as file:
                write_state(state, file)
            self._note_phase(number, str(state.phase.get("name")))
        except OSError as err:
            self._warn(
                f"Epochs are not kept, so that an interrupted run would begin them again: cannot "
                f"write into {self.folder}: {err.strerror or err}."
            )
        self._pending = None
        now = time.monotonic()
        self.seconds += now - begin
        self._due = now + max(SECONDS_BETWEEN, _REST * (now - begin))

    def offer(self, number: int, state: TrainingState) -> None:
        """Keep the state of a phase after an epoch, unless one was kept a moment ago.

        The flush to the disk takes longer than a short epoch. ``flush()`` keeps the last state that
        was offered.
        """
        self._pending = number, state
        if time.monotonic() >= self._due:
            self.flush()

    def flush(self) -> None:
        """Keep what was offered and not kept yet."""
        if self._pending is not None:
            self.save(*self._pending)

    def load(self, number: int) -> TrainingState | None:
        """Return the last state of a phase; None if there is none, or what is kept is damaged."""
        state = self._read(number)
        if state is not None:
            epochs = sum(epoch.seconds for epoch in state.epochs)
            self.restored_seconds += state.finished.seconds if state.finished else epochs
        elif self.folder is not None and self._file(number).exists() and number not in self._anew:
            self._warn(self._begins_anew(number, f"its checkpoint {self._file(number)} is damaged"))
        return state

    @cached_property
    def _before(self) -> dict[str, Any] | None:
        """What ``begin()`` noted in an earlier process."""
        return None if self.folder is None else read_begun(self.folder)

    def began(self, now: str) -> str:
        """Return when the run began: now, unless it is resumed.

        Args:
            now: The time in ISO 8601.
        """
        began: str = now if self._before is None else self._before["began"]
        return began

    def review(self) -> tuple[str, ...]:
        """Read what is kept of a run that is resumed, and say where it goes on.

        What is damaged or missing, and so begins anew, is among the warnings too.

        Returns:
            Lines for the notes of the run; none if it is not resumed.
        """
        if self.folder is None or not self.resumed:
            return ()
        files = {int(name[1]) for path in self.folder.iterdir() if (name := _PHASE(path.name))}
        if self._before is not None:
            self._phases = dict(self._before["phases"])
        known = set(map(int, self._phases))
        place, problems = "", []
        for number in range(max(files | known, default=0)):
            state, problem = self._review_phase(number)
            if state is not None:
                phase, place = str(state.phase.get("name")), _place(state)
                self._phases[str(number + 1)] = phase
                problems += [self._loss(phase, callback) for callback in state.callbacks]
            else:
                self._anew.add(number)
                problems.append(problem)
        problems = [*self._problems_of_the_folder(bool(files), bool(place)), *problems]
        problems = list(filter(None, problems))
        for problem in problems:
            self._warn(problem)
        if not place and problems:
            return (f"{_RESUMED}. {problems[0]}", *problems[1:])
        return (f"{_RESUMED}: {place or 'the training begins with the first epoch'}.", *problems)

    def _review_phase(self, number: int) -> tuple[TrainingState | None, str]:
        """Return the state of a phase, or why it begins anew."""
        file = self._file(number)
        if not file.exists():
            return None, self._begins_anew(number, f"its checkpoint {file} is missing")
        state = self._read(number)
        if state is None:
            return None, self._begins_anew(number, f"its checkpoint {file} is damaged")
        if state.finished and not self._head_is_whole(number, state):
            self._phases[str(number + 1)] = str(state.phase.get("name"))
            why = f"its solved head {self._head(number)} is damaged or missing"
            return None, self._begins_anew(number, why)
        return state, ""

    def _begins_anew(self, number: int, why: str) -> str:
        return f"Phase {self._phases.get(str(number + 1), number + 1)} begins anew: {why}."

    def _problems_of_the_folder(self, any_states: bool, any_whole: bool) -> Iterator[str]:
        assert self.folder is not None
        right = f"the result is right for the {self.folder.parent / 'config.toml'} that is there"
        if self.missing:
            self._lost = "all"
            yield (
                f"{self.folder} is missing, with what was trained and what the run began with: the "
                f"training begins anew, and {_UNCHECKED}; {right}. The folder's name begins with a "
                f"dot; where a run folder is moved or copied, it must come along."
            )
        elif self._before is None:
            there = (self.folder / BEGUN).exists()
            if there or any_states:
                state: Lost = "damaged" if there else "missing"
                self._lost = state if any_whole else "all"
                rest = "What was trained is kept" if any_whole else f"T{right[1:]}"
                yield f"{self.folder / BEGUN} is {state}: {_UNCHECKED}. {rest}."
        else:
            self._lost = self._before["lost"]
            earlier = "when the run was resumed before"
            if self._lost == "all":
                yield (
                    f"What the run began with was lost {earlier}, and the training began anew: "
                    f"{_UNCHECKED}; {right}."
                )
            elif self._lost:
                yield f"{self.folder / BEGUN} was {self._lost} {earlier}: {_UNCHECKED}."

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Note what the run is made of, or check that a resumed one is made of the same.

        Args:
            facts: When it began, its config, the fingerprints of the data and the weights, the
                versions, whether TensorFlow has one thread for each operation, and the working
                folder; JSON values.

        Raises:
            RunFolderError: If the config, the data or the weights are other ones.
        """
        if self.folder is None:
            return
        before = self._before
        if before is None:
            self._facts = {**facts, "lost": self._lost, "phases": self._phases}
            self._write_facts()
            return
        self._facts = before
        check_same(self.folder, before, facts)
        for doubt in doubts(before, facts):
            self._warn(doubt)

    def _note_phase(self, number: int, name: str) -> None:
        """Note once that a state of a phase was kept, so that it is missed where it is gone."""
        if self._facts is not None and str(number + 1) not in self._facts["phases"]:
            self._facts["phases"] = {**self._facts["phases"], str(number + 1): name}
            self._write_facts()

    def _write_facts(self) -> None:
        assert self.folder is not None
        assert self._facts is not None
        with suppress(OSError):  # save() says it
            write_checked_json(self.folder / BEGUN, self._facts)

    def save_solved(self, number: int, network: keras.Model, result: PhaseResult) -> None:
        """Keep a head that was solved."""
        self.save(number, TrainingState({"name": result.phase.name}, finished=result))
        if self.folder is None:
            return
        try:
            with atomic_path(self._head(number)) as temporary:
                network.save(temporary)
        except OSError as err:
            self._warn(f"Cannot keep the solved head in {self.folder}: {err.strerror or err}.")

    def load_solved(self, number: int) -> tuple[keras.Model, PhaseResult] | None:
        """Return a head that was solved and the result of its phase; None if they are not kept."""
        if self.folder is None or not self._head(number).exists():
            return None
        state = self._read(number)
        try:
            # The folder may come from elsewhere: safe mode alone lets too much in.
            network = load_model_file(self._head(number))
        except Exception as err:  # whatever a damaged file makes Keras raise
            if number not in self._anew:  # review() has said it
                self._warn(f"The head in {self._head(number)} is solved again: {err}")
            return None
        if state is None or state.finished is None:
            return None
        self.restored_seconds += state.finished.seconds
        return network, state.finished

    def _read(self, number: int) -> TrainingState | None:
        if self.folder is None or not self._file(number).exists():
            return None
        try:
            return read_state(self._file(number))
        except Exception:  # whatever a damaged file makes the parsers raise
            return None

    def _head_is_whole(self, number: int, state: TrainingState) -> bool:
        """Return whether a solved head can be read; a phase of another kind has none."""
        if not _is_solved(state):
            return True
        try:
            with zipfile.ZipFile(self._head(number)) as archive:
                return archive.testzip() is None
        except Exception:  # whatever a damaged file makes the parser raise
            return False

    @staticmethod
    def _loss(phase: str, callback: CallbackState) -> str:
        if not callback.lost:
            return ""
        return (
            f"In phase {phase} the callback {callback.callback} begins anew with "
            f"{', '.join(callback.lost)}: this cannot be kept."
        )

    def _file(self, number: int) -> Path:
        assert self.folder is not None
        return self.folder / f"phase-{number + 1}.npz"

    def _head(self, number: int) -> Path:
        return self._file(number).with_suffix(".keras")

    def _warn(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)


def _is_solved(state: TrainingState) -> bool:
    return set(state.phase) == {"name"}


def _place(state: TrainingState) -> str:
    """Say how far a phase is, and so where the run goes on."""
    name, done = state.phase.get("name"), len(state.epochs)
    if state.finished is not None:
        return f"phase {name} is over, and what comes after it follows"
    return f"phase {name} goes on after epoch {done} of {state.phase.get('epochs')}"
