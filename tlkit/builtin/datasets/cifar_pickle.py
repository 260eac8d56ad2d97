"""Reading the pickles that CIFAR is published in, without running what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tlkit import DataError, Sealed, UnsafeFileError, restricted_load

if TYPE_CHECKING:
    import numpy as np

# Buffers longer than this are no batch of CIFAR.
MAX_BYTES = 400 * 2**20
_KINDS = frozenset("uif")


class _Array:
    """What an array becomes while a pickle is read."""

    def __init__(self) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        import numpy as np

        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _DType) or not isinstance(data, bytes) or fortran is True:
            raise UnsafeFileError("it has an array of a type that CIFAR does not use")
        self.value = np.frombuffer(data, dtype.value).reshape(tuple(shape))


class _DType:
    """What a number type becomes; plain numbers only."""

    def __init__(self, name: Any) -> None:
        import numpy as np

        text = name.decode("ascii") if isinstance(name, bytes) else str(name)
        if len(text) > 4 or text[:1] not in _KINDS:
            raise UnsafeFileError(f"it has an array of dtype {text[:20]!r}")
        self.value = np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        order = state[1].decode() if isinstance(state[1], bytes) else str(state[1])
        if order == ">":
            self.value = self.value.newbyteorder(">")


class _ArrayType(Sealed):
    """What stands for ``numpy.ndarray``; it can be named, not called."""


class _MakeArray(Sealed):
    """What stands for ``numpy._core.multiarray._reconstruct``."""

    def __call__(self, *arguments: Any) -> _Array:
        return _Array()


class _MakeDType(Sealed):
    """What stands for ``numpy.dtype``."""

    def __call__(self, name: Any, align: Any = False, copy: Any = False) -> _DType:
        return _DType(name)


class _Encode(Sealed):
    """What stands for ``_codecs.encode``, which old protocols write bytes with."""

    def __call__(self, text: str, encoding: str = "latin1") -> bytes:
        if encoding not in ("latin1", "latin-1"):
            raise UnsafeFileError(f"it has text in the encoding {encoding!r}")
        return text.encode("latin1")


# Instances, since a pickle could set attributes of a class or of a function.
_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _MakeArray(),
    ("numpy._core.multiarray", "_reconstruct"): _MakeArray(),
    ("numpy", "ndarray"): _ArrayType(),
    ("numpy", "dtype"): _MakeDType(),
    ("_codecs", "encode"): _Encode(),
}


def load(data: bytes, name: str) -> dict[bytes, Any]:
    """Read a pickled dictionary of numbers, text, lists and numeric arrays.

    Nothing that the pickle names is imported or called: the few names that numpy's pickles need
    stand for small objects of this module.

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
        found, _ = restricted_load(data, _ALLOWED, encoding="bytes")
        if not isinstance(found, dict):
            raise UnsafeFileError("it holds no dictionary")
        return {_key(key): _value(value) for key, value in found.items()}
    except UnsafeFileError as err:
        raise DataError(f"{name} is refused: {err}.") from err
    except DataError as err:
        raise DataError(f"{name}: {err}.") from err
    except Exception as err:  # damaged pickles make the reader raise almost anything
        raise DataError(f"{name} is damaged: {type(err).__name__}: {err}") from err


def _key(key: Any) -> bytes:
    if isinstance(key, str):
        return key.encode()
    if not isinstance(key, bytes):
        raise UnsafeFileError("it has a key that is no text")
    return key


def _value(value: Any) -> Any:
    if isinstance(value, _Array):
        if value.value is None:
            raise UnsafeFileError("it has an array without data")
        return value.value
    if isinstance(value, list | tuple):
        return [_value(item) for item in value]
    if not isinstance(value, bytes | str | int | float):
        raise UnsafeFileError(f"it has a value of type {type(value).__name__}")
    return value
