"""CallbackState: what a Keras callback remembers, as JSON values and arrays."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

# What Keras sets on every callback, and what is as large as the model. Beside that, Keras turns the
# sign of min_delta when a callback first looks at a metric, in each process.
_NOT_OF_THE_CALLBACK = ("params", "model", "min_delta")
_SCALARS = (types.NoneType, bool, int, float, str)
_MOST_NESTED = 20


@dataclass(frozen=True)
class CallbackState:
    """The attributes of one callback.

    Attributes:
        callback: The name of its class.
        values: For each attribute that can be kept a JSON value: numbers and texts as they are,
            ``{"array": place}``, and ``{"list": [...]}`` or the like for what holds others.
        arrays: The arrays that these name.
        lost: The other attributes with their types, such as ``"rng (Generator)"``.
    """

    callback: str
    values: Mapping[str, Any]
    arrays: tuple[Any, ...]
    lost: tuple[str, ...]

    @classmethod
    def of(cls, callback: Any) -> CallbackState:
        """Return a copy of what a callback remembers.

        Kept are None, numbers, texts and NumPy arrays, and lists, tuples, sets and dictionaries of
        them. Functions, modules and layers count as code, which the next process has anyway.
        """
        values: dict[str, Any] = {}
        arrays: list[Any] = []
        lost = []
        for name, value in vars(callback).items():
            if name.lstrip("_") in _NOT_OF_THE_CALLBACK or _is_code(value):
                continue
            before = len(arrays)
            try:
                values[name] = _encode(value, arrays)
            except _CannotBeKeptError:
                del arrays[before:]
                lost.append(f"{name} ({type(value).__name__})")
        return cls(type(callback).__name__, values, tuple(arrays), tuple(lost))

    def restore(self, callback: Any) -> None:
        """Give a callback of the same class what this one remembered."""
        vars(callback).update(self.decoded())

    def decoded(self) -> dict[str, Any]:
        """Return the attributes that were kept, as they were."""
        return {name: _decode(value, self.arrays) for name, value in self.values.items()}


class _CannotBeKeptError(Exception):
    pass


def _is_code(value: Any) -> bool:
    return callable(value) or isinstance(value, types.ModuleType)


def _encode(value: Any, arrays: list[Any], nested: int = 0) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    # No subclasses: they would come back as something else.
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is np.ndarray and not value.dtype.hasobject:
        arrays.append(value.copy())
        return {"array": len(arrays) - 1}
    if nested == _MOST_NESTED or kind not in (list, tuple, set, dict):
        raise _CannotBeKeptError
    items = list(value.items()) if kind is dict else value
    return {kind.__name__: [_encode(item, arrays, nested + 1) for item in items]}


def _decode(value: Any, arrays: tuple[Any, ...]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "array":
        return arrays[content]
    makers = {"list": list, "tuple": tuple, "set": set, "dict": dict}
    return makers[kind](_decode(item, arrays) for item in content)
