"""TrainingState: all that a phase goes on from, and the form that it is kept in."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from pydantic import TypeAdapter

from tlkit.callback_state import CallbackState
from tlkit.errors import RunFolderError
from tlkit.records import PhaseResult

_RECORD = "record"


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
        callbacks: What each Keras callback remembers.
        stop: Whether a callback asked for the end.
        finished: What the phase left behind, if it is over.
    """

    phase: dict[str, Any]
    epochs: tuple[Epoch, ...] = ()
    variables: tuple[Any, ...] = ()
    callbacks: tuple[CallbackState, ...] = ()
    stop: bool = False
    finished: PhaseResult | None = None


@dataclass
class _Record:
    """What a state's record must hold, besides the variables and callbacks."""

    phase: dict[str, Any]
    epochs: list[Epoch]
    stop: bool
    finished: PhaseResult | None


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


def write_state(state: TrainingState, file: IO[bytes]) -> None:
    """Write a state.

    Raises:
        OSError: If the file cannot be written.
    """
    np.savez(file, **dict(_to_arrays(state)))


def read_state(file: Path | IO[bytes]) -> TrainingState:
    """Return the state that ``write_state()`` wrote.

    Raises:
        Exception: Whatever a damaged file makes the parsers raise.
    """
    with np.load(file, allow_pickle=False) as arrays:
        return _from_arrays({name: arrays[name] for name in arrays.files})


def state_to_bytes(state: TrainingState) -> bytes:
    """Return a state as another process reads it."""
    file = io.BytesIO()
    write_state(state, file)
    return file.getvalue()


def state_from_bytes(content: bytes) -> TrainingState:
    """Return the state that ``state_to_bytes()`` wrote."""
    return read_state(io.BytesIO(content))


def _to_arrays(state: TrainingState) -> Iterator[tuple[str, Any]]:
    for number, value in enumerate(state.variables):
        yield f"variable {number}", value
    for number, callback in enumerate(state.callbacks):
        for place, value in enumerate(callback.arrays):
            yield f"callback {number} {place}", value
    record = {
        "phase": state.phase,
        "epochs": [asdict(epoch) for epoch in state.epochs],
        "variables": len(state.variables),
        "callbacks": [
            {**vars(callback), "arrays": len(callback.arrays)} for callback in state.callbacks
        ],
        "stop": state.stop,
        "finished": state.finished and asdict(state.finished),
    }
    yield _RECORD, np.frombuffer(json.dumps(record).encode(), np.uint8)


def _from_arrays(arrays: Mapping[str, Any]) -> TrainingState:
    record = json.loads(arrays[_RECORD].tobytes())
    checked = TypeAdapter(_Record).validate_python(record)
    callbacks = tuple(
        CallbackState(
            str(item["callback"]),
            dict(item["values"]),
            tuple(arrays[f"callback {number} {place}"] for place in range(item["arrays"])),
            tuple(map(str, item["lost"])),
        )
        for number, item in enumerate(record["callbacks"])
    )
    for callback in callbacks:
        callback.decoded()  # raises where it is damaged
    return TrainingState(
        phase=checked.phase,
        epochs=tuple(checked.epochs),
        variables=tuple(arrays[f"variable {number}"] for number in range(record["variables"])),
        callbacks=callbacks,
        stop=checked.stop,
        finished=checked.finished,
    )
