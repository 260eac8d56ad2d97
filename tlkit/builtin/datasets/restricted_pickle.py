"""Reading the pickles that CIFAR is published in, without running what is in them."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tlkit import DataError

if TYPE_CHECKING:
    import numpy as np

# Buffers longer than this are no batch of CIFAR.
MAX_BYTES = 400 * 2**20
_KINDS = frozenset("uif")


class _Array:
    """What stands for ``numpy.ndarray`` while a pickle is read."""

    def __init__(self) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        import numpy as np

        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _DType) or not isinstance(data, bytes) or fortran is True:
            raise DataError("an array of a type that CIFAR does not use")
        self.value = np.frombuffer(data, dtype.value).reshape(tuple(shape))


class _DType:
    """What stands for ``numpy.dtype``; plain numbers only."""

    def __init__(self, name: Any, align: Any = False, copy: Any = False) -> None:
        import numpy as np

        text = name.decode("ascii") if isinstance(name, bytes) else str(name)
        if len(text) > 4 or text[:1] not in _KINDS:
            raise DataError(f"an array of dtype {text[:20]!r}")
        self.value = np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        order = state[1].decode() if isinstance(state[1], bytes) else str(state[1])
        if order == ">":
            self.value = self.value.newbyteorder(">")


def _reconstruct(*arguments: Any) -> _Array:
    return _Array()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise DataError(f"text in the encoding {encoding!r}")
    return text.encode("latin1")


_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise DataError(
                f"it names {module}.{name}, which is not allowed in a dataset"
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        raise DataError("it has a persistent id, which is not allowed in a dataset")


def load(data: bytes, name: str) -> dict[bytes, Any]:
    """Read a pickled dictionary of numbers, text, lists and numeric arrays.

    Nothing that the pickle names is imported or called: the few names that numpy's pickles need
    stand for small classes of this module.

    Args:
        data: The pickle, protocol 0 to 5.
        name: What to call it in errors.

    Returns:
        The dictionary, with bytes for keys and numpy arrays for values.

    Raises:
        DataError: If it is damaged, or anything else than that.
    """
    if len(data) > MAX_BYTES:
        raise DataError(f"{name} has {len(data):,} bytes; allowed are {MAX_BYTES:,}.")
    try:
        found = _Unpickler(io.BytesIO(data), encoding="bytes").load()
        if not isinstance(found, dict):
            raise DataError("it holds no dictionary")
        return {_key(key): _value(value) for key, value in found.items()}
    except DataError as err:
        raise DataError(f"{name} is refused: {err}.") from err
    except Exception as err:  # damaged pickles make the reader raise almost anything
        raise DataError(f"{name} is damaged: {type(err).__name__}: {err}") from err


def _key(key: Any) -> bytes:
    if isinstance(key, str):
        return key.encode()
    if not isinstance(key, bytes):
        raise DataError("a key that is no text")
    return key


def _value(value: Any) -> Any:
    if isinstance(value, _Array):
        if value.value is None:
            raise DataError("an array without data")
        return value.value
    if isinstance(value, list | tuple):
        return [_value(item) for item in value]
    if not isinstance(value, bytes | str | int | float):
        raise DataError(f"a value of type {type(value).__name__}")
    return value
