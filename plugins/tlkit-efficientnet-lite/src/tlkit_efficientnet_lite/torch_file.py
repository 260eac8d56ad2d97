"""Reading a state dict from PyTorch's older file format, without torch and without running it.

The format (``torch/serialization.py``, ``_legacy_save``): a magic number, a protocol version and
a dictionary about the system, each pickled; the pickled object; the pickled list of storage keys;
then for each key its number of elements as int64 and its elements, little-endian.

A pickle is a program: ``tlkit.restricted_load()`` runs only the opcodes that such files consist of,
and lets it name four things, which it cannot change.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlkit import DataError, Sealed, UnsafeFileError, WeightsError, restricted_load

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001

# The largest known file needs 14,000 opcodes. The limit also keeps tuples from being nested so
# deep that hashing one overflows the C stack.
MAX_OPCODES = 30_000
MAX_DIMENSIONS = 8

# What pickle protocol 2 writes for numbers, text, containers and calls. Missing on purpose: other
# ways to reach a class or an instance (INST, OBJ, NEWOBJ, EXT1, STACK_GLOBAL) and later protocols.
# fmt: off
_OPCODES = frozenset((
    "PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1",
    "BINUNICODE", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
    "APPEND", "APPENDS", "SETITEM", "SETITEMS", "GLOBAL", "REDUCE", "BUILD", "BINPERSID", "BINPUT",
    "LONG_BINPUT", "BINGET", "LONG_BINGET",
))
# fmt: on


@dataclass(frozen=True, eq=False)
class _StorageType(Sealed):
    """What stands for ``torch.FloatStorage`` and the like; it can be named, not called."""

    dtype: np.dtype[Any]


@dataclass(frozen=True, eq=False)
class _Storage(Sealed):
    dtype: np.dtype[Any]
    numel: int


@dataclass(frozen=True, eq=False)
class _Tensor(Sealed):
    key: str
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _StateDict(OrderedDict[Any, Any]):
    """What stands for ``collections.OrderedDict``."""

    def __setstate__(self, state: Any) -> None:
        """Forget torch's ``_metadata``, which is all that weights files set."""


class _MakeStateDict(Sealed):
    # An instance, since the opcodes could set attributes of a class or of a function.
    def __call__(self, *arguments: Any) -> _StateDict:
        if arguments:
            raise WeightsError("it fills an OrderedDict in a way that torch does not")
        return _StateDict()


class _MakeTensor(Sealed):
    """What stands for ``torch._utils._rebuild_tensor_v2``."""

    def __call__(self, *arguments: Any) -> _Tensor:
        match arguments:
            case (
                (str(key), _Storage() as storage),
                offset,
                tuple(shape),
                tuple(stride),
                bool(),
                _,
            ):
                pass
            case _:
                raise WeightsError("it makes a tensor of something else than a storage and a shape")
        if len(shape) != len(stride) or len(shape) > MAX_DIMENSIONS:
            raise WeightsError(f"a tensor has {len(shape)} sides and {len(stride)} strides")
        if not all(_is_count(number) for number in (offset, *shape, *stride)):
            raise WeightsError("a tensor has an impossible offset, shape or stride")
        last = offset + sum((side - 1) * step for side, step in zip(shape, stride, strict=True))
        size = math.prod(shape)
        # An empty tensor has no last element, but its offset must not lie outside either.
        if size > storage.numel or (last if size else offset - 1) >= storage.numel:
            raise WeightsError(f"a tensor of shape {shape} reaches beyond its storage")
        return _Tensor(key, storage, offset, shape, stride)


_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _MakeStateDict(),
    ("torch", "FloatStorage"): _StorageType(np.dtype("<f4")),
    ("torch", "LongStorage"): _StorageType(np.dtype("<i8")),
    ("torch._utils", "_rebuild_tensor_v2"): _MakeTensor(),
}


class _Storages:
    """The storages that a file announces, by key."""

    def __init__(self, file_size: int) -> None:
        self._file_size = file_size
        self.by_key: dict[str, _Storage] = {}

    def announce(self, pid: Any) -> tuple[str, _Storage]:
        match pid:
            case ("storage", _StorageType(dtype=dtype), str(key), str(), int(numel), None):
                pass
            case _:
                raise WeightsError("it has a persistent id of an unknown form")
        if not _is_count(numel) or numel * dtype.itemsize > self._file_size:
            raise WeightsError(f"it announces a storage of {numel} elements, more than it holds")
        storage = self.by_key.setdefault(key, _Storage(dtype, numel))
        if (storage.dtype, storage.numel) != (dtype, numel):
            raise WeightsError(f"it announces storage {key!r} twice, with different sizes or types")
        return key, storage


def read_torch_state_dict(path: Path | str) -> dict[str, NDArray[Any]]:
    """Read the tensors of a state dict.

    Args:
        path: A file of PyTorch's older format (before version 1.6).

    Returns:
        The tensors by name: read-only float32 or int64 arrays in torch's layout, such as (out
        channels, in channels, height, width) for the kernel of a convolution.

    Raises:
        WeightsError: If the file is missing, damaged, or holds anything else. Nothing in it is
            executed: it may name OrderedDict, FloatStorage, LongStorage and _rebuild_tensor_v2.
    """
    path = Path(path)
    try:
        return _read(path.read_bytes())
    except (WeightsError, UnsafeFileError) as err:
        raise WeightsError(
            f"{path} is refused: {err}. Allowed is a state dict of float32 and int64 tensors; save "
            f"it with torch.save(state, path, _use_new_zipfile_serialization=False)."
        ) from err
    except DataError as err:
        raise WeightsError(f"{path}: {err}. Get the file again.") from err
    except OSError as err:
        raise WeightsError(f"Cannot read {path}: {err.strerror or err}.") from err
    except Exception as err:  # damaged pickles make the reader raise almost anything
        raise WeightsError(
            f"{path} is damaged ({type(err).__name__}: {err}). Get the file again."
        ) from err


def _read(data: bytes) -> dict[str, NDArray[Any]]:
    if data.startswith(b"PK"):
        raise WeightsError("it is in PyTorch's newer format, a zip file")
    position = 0
    announced = _Storages(len(data))

    def load() -> Any:
        nonlocal position
        found, position = restricted_load(
            data,
            _ALLOWED,
            start=position,
            opcodes=_OPCODES,
            max_opcodes=MAX_OPCODES,
            persistent_load=announced.announce,
        )
        return found

    if load() != MAGIC_NUMBER or load() != PROTOCOL_VERSION:
        raise WeightsError("it is no PyTorch file of the older format")
    system = load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise WeightsError("it was not written on a little-endian machine")
    tensors = load()
    if not isinstance(tensors, _StateDict):
        raise WeightsError("it holds no state dict")
    keys, storages = load(), announced.by_key
    if not isinstance(keys, list) or sorted(keys) != sorted(storages):
        raise WeightsError("its list of storages does not fit its tensors")
    values: dict[str, NDArray[Any]] = {}
    for key in keys:
        storage = storages[key]
        begin = position + 8
        position = begin + storage.numel * storage.dtype.itemsize
        if position > len(data):
            raise WeightsError("it is cut short")
        if int.from_bytes(data[begin - 8 : begin], "little", signed=True) != storage.numel:
            raise WeightsError(f"storage {key!r} is not of the announced size")
        values[key] = np.frombuffer(data[begin:position], storage.dtype)
    if position != len(data):
        raise WeightsError(f"{len(data) - position} bytes follow its last storage")
    found: dict[str, NDArray[Any]] = {}
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise WeightsError(f"an entry is a {type(tensor).__name__} and no named tensor")
        found[name] = _view(tensor, values[tensor.key])
    return found


def _view(tensor: _Tensor, values: NDArray[Any]) -> NDArray[Any]:
    # Views, not copies: a thousand tensors on one storage take no more memory than the file. The
    # bounds were checked when the tensor was made.
    steps = tuple(step * values.itemsize for step in tensor.stride)
    start = values[tensor.offset :]
    return np.lib.stride_tricks.as_strided(start, tensor.shape, steps, writeable=False)


def _is_count(number: Any) -> bool:
    # Not isinstance: True is an int too.
    return type(number) is int and 0 <= number < 2**40
