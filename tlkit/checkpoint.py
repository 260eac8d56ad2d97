"""Checkpoints: the state of training after each epoch, kept in the run folder until a run ends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter

from tlkit.atomic import atomic_path
from tlkit.checked_json import read_checked_json, write_checked_json
from tlkit.errors import RunFolderError
from tlkit.model_file import load_model_file
from tlkit.records import PhaseResult

if TYPE_CHECKING:
    import keras

CHECKPOINT, BEGUN = ".checkpoint", "begun.json"
_RECORD = "record"
# What Keras sets on every callback, and what is as large as the model. Beside that, Keras turns the
# sign of min_delta when a callback first looks at a metric, in each process.
_NOT_OF_THE_CALLBACK = ("params", "model", "min_delta")


@dataclass(frozen=True)
class Epoch:
    """One epoch of a phase that is over.

    Attributes:
        metrics: What the epoch ended with, by name.
        seconds: Wall-clock seconds that it took.
    """

    metrics: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class TrainingState:
    """All that a phase goes on from.

    Attributes:
        phase: What the phase is: its name, numbers of epochs and images, the shapes of what it
            trains. Another phase cannot go on from here.
        epochs: Those that are over.
        variables: The values of the model, of the optimizer, and of the random generators.
        callbacks: For each Keras callback its numbers, texts, arrays and lists of arrays.
        stop: Whether a callback asked for the end.
        finished: What the phase left behind, if it is over.
    """

    phase: dict[str, Any]
    epochs: tuple[Epoch, ...] = ()
    variables: tuple[Any, ...] = ()
    callbacks: tuple[dict[str, Any], ...] = ()
    stop: bool = False
    finished: PhaseResult | None = None


@dataclass
class _Record:
    """What a state's record must hold, besides the variables and callbacks."""

    phase: dict[str, Any]
    epochs: list[Epoch]
    stop: bool
    finished: PhaseResult | None


@dataclass
class Checkpoints:
    """The states of a run's phases, each in a file that is replaced after each epoch.

    Attributes:
        folder: Where they are kept; None to keep none.
        warnings: Where it is noted that a state could not be kept or read.
        restored_seconds: Wall-clock seconds of training that earlier processes have done.
    """

    folder: Path | None = None
    warnings: list[str] = field(default_factory=list)
    restored_seconds: float = 0.0

    def save(self, number: int, state: TrainingState) -> None:
        """Keep the state of a phase; where the disk does not take it, say so.

        Args:
            number: The phase, from 0.
            state: Its state.
        """
        if self.folder is None:
            return
        try:
            self.folder.mkdir(exist_ok=True)
            with atomic_path(self._file(number)) as temporary, temporary.open("wb") as file:
                np.savez(file, **dict(_to_arrays(state)))
        except OSError as err:
            self._warn(
                f"Epochs are not kept, so that an interrupted run would begin them again: cannot "
                f"write into {self.folder}: {err.strerror or err}."
            )

    def load(self, number: int) -> TrainingState | None:
        """Return the last state of a phase; None if there is none, or what is kept is damaged."""
        if self.folder is None or not self._file(number).exists():
            return None
        try:
            with np.load(self._file(number), allow_pickle=False) as arrays:
                state = _from_arrays({name: arrays[name] for name in arrays.files})
            epochs = sum(epoch.seconds for epoch in state.epochs)
            self.restored_seconds += state.finished.seconds if state.finished else epochs
        except Exception as err:  # whatever a damaged file makes the parsers raise
            self._warn(
                f"The checkpoint {self._file(number)} is damaged ({type(err).__name__}): the phase "
                f"begins again."
            )
            return None
        return state

    @cached_property
    def _before(self) -> dict[str, Any] | None:
        """What ``begin()`` noted in an earlier process."""
        return None if self.folder is None else read_checked_json(self.folder / BEGUN)

    def began(self, now: str) -> str:
        """Return when the run began: now, unless it is resumed.

        Args:
            now: The time in ISO 8601.
        """
        return now if self._before is None else str(self._before["began"])

    def notes(self) -> tuple[str, ...]:
        """Return a line for the report of a run that is resumed."""
        if self._before is None:
            return ()
        return ("Resumed after an interruption; what was done before it is kept.",)

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Note what the run is made of, or check that a resumed one is made of the same.

        Args:
            facts: When it began, its config, the fingerprints of the data and the weights, and the
                versions; JSON values.

        Raises:
            RunFolderError: If the config, the data or the weights are other ones.
        """
        if self.folder is None:
            return
        before = self._before
        if before is None:
            with suppress(OSError):  # save() says it
                write_checked_json(self.folder / BEGUN, facts)
            return
        now = {**facts["fingerprints"], "settings": facts["config"]}
        then = {**before["fingerprints"], "settings": before.get("config")}
        changed = sorted(name for name in {*now, *then} if now.get(name) != then.get(name))
        if changed:
            run = self.folder.parent
            raise RunFolderError(
                f"Cannot resume the run in {run}: since it began, these were changed: "
                f"{', '.join(changed)}. Start it again: tlkit run {run / 'config.toml'}"
            )
        versions = [
            f"{name} {before['versions'].get(name, '(none)')} is now {value}"
            for name, value in facts["versions"].items()
            if before["versions"].get(name) != value
        ]
        if versions:
            self._warn(f"Since the run began, {'; '.join(versions)}: its figures may differ.")

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
        state = self.load(number)
        try:
            # The folder may come from elsewhere: safe mode alone lets too much in.
            network = load_model_file(self._head(number))
        except Exception as err:  # whatever a damaged file makes Keras raise
            self._warn(f"The head in {self._head(number)} is solved again: {err}")
            return None
        return None if state is None or state.finished is None else (network, state.finished)

    def _file(self, number: int) -> Path:
        assert self.folder is not None
        return self.folder / f"phase-{number + 1}.npz"

    def _head(self, number: int) -> Path:
        return self._file(number).with_suffix(".keras")

    def _warn(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)


def callback_state(callback: Any) -> dict[str, Any]:
    """Return what a Keras callback remembers: numbers, texts, arrays and lists of arrays."""
    found: dict[str, Any] = {}
    for name, value in vars(callback).items():
        if name.lstrip("_") in _NOT_OF_THE_CALLBACK:
            continue
        if isinstance(value, np.generic):
            value = value.item()
        arrays = isinstance(value, list | tuple) and all(
            isinstance(item, np.ndarray) for item in value
        )
        if value is None or isinstance(value, bool | int | float | str | np.ndarray):
            found[name] = value
        elif arrays:
            found[name] = [item.copy() for item in value]
    return found


def assign(variables: Sequence[Any], values: Sequence[Any]) -> None:
    """Give variables the values of a state.

    Raises:
        RunFolderError: If they are not those of the same model.
    """
    fits = len(variables) == len(values) and all(
        tuple(variable.shape) == value.shape
        for variable, value in zip(variables, values, strict=True)
    )
    if not fits:
        raise RunFolderError(
            "The checkpoint is of another model. Was a plugin or Keras changed since the run "
            "began? Start it again."
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _to_arrays(state: TrainingState) -> Iterator[tuple[str, Any]]:
    callbacks = []
    for number, values in enumerate(state.callbacks):
        plain: dict[str, Any] = {}
        for name, value in values.items():
            items = [value] if isinstance(value, np.ndarray) else value
            if isinstance(items, list):
                plain[name] = {"arrays": len(items), "list": items is value}
                for place, item in enumerate(items):
                    yield f"callback {number} {name} {place}", item
            else:
                plain[name] = value
        callbacks.append(plain)
    for number, value in enumerate(state.variables):
        yield f"variable {number}", value
    record = {
        "phase": state.phase,
        "epochs": [asdict(epoch) for epoch in state.epochs],
        "variables": len(state.variables),
        "callbacks": callbacks,
        "stop": state.stop,
        "finished": state.finished and asdict(state.finished),
    }
    yield _RECORD, np.frombuffer(json.dumps(record).encode(), np.uint8)


def _from_arrays(arrays: Mapping[str, Any]) -> TrainingState:
    record = json.loads(arrays[_RECORD].tobytes())
    callbacks = []
    for number, values in enumerate(record["callbacks"]):
        found = {}
        for name, value in values.items():
            if isinstance(value, dict):
                items = [
                    arrays[f"callback {number} {name} {place}"] for place in range(value["arrays"])
                ]
                found[name] = items if value["list"] else items[0]
            else:
                found[name] = value
        callbacks.append(found)
    checked = TypeAdapter(_Record).validate_python(record)
    return TrainingState(
        phase=checked.phase,
        epochs=tuple(checked.epochs),
        variables=tuple(arrays[f"variable {number}"] for number in range(record["variables"])),
        callbacks=tuple(callbacks),
        stop=checked.stop,
        finished=checked.finished,
    )
