"""Reading a state dict from PyTorch's older file format, without torch and without running it.

The format (``torch/serialization.py``, ``_legacy_save``): a magic number, a protocol version and
a dictionary about the system, each pickled; the pickled object; the pickled list of storage keys;
then for each key its number of elements as int64 and its elements, little-endian.
"""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tlkit import WeightsError

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001


class _StorageType:
    """What stands for ``torch.FloatStorage`` and the like; it can be named, not called."""

    def __init__(self, dtype: str) -> None:
        self.dtype = np.dtype(dtype)


@dataclass
class _Storage:
    dtype: np.dtype[Any]
    numel: int
    values: NDArray[Any] = field(default_factory=lambda: np.empty(0))


@dataclass
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __setstate__(self, state: Any) -> None:
        raise WeightsError("it sets the state of a tensor")

    def read(self) -> NDArray[Any]:
        last = self.offset + sum(
            (side - 1) * step for side, step in zip(self.shape, self.stride, strict=True)
        )
        if 0 in self.shape:
            return np.empty(self.shape, self.storage.dtype)
        if math.prod(self.shape) > self.storage.numel or last >= self.storage.numel:
            raise WeightsError("a tensor reaches beyond its storage")
        size = self.storage.dtype.itemsize
        view = np.lib.stride_tricks.as_strided(
            self.storage.values[self.offset :],
            self.shape,
            tuple(step * size for step in self.stride),
        )
        return view.copy()


def _rebuild_tensor(*arguments: Any) -> _Tensor:
    storage, offset, shape, stride = arguments[:4]
    numbers = (offset, *shape, *stride)
    if not isinstance(storage, _Storage) or len(shape) != len(stride) or len(shape) > 8:
        raise WeightsError("a tensor without a storage or of an odd shape")
    if not all(type(number) is int and 0 <= number < 2**40 for number in numbers):
        raise WeightsError("a tensor with an impossible offset, shape or stride")
    return _Tensor(storage, offset, tuple(shape), tuple(stride))


_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "FloatStorage"): _StorageType("<f4"),
    ("torch", "LongStorage"): _StorageType("<i8"),
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, storages: dict[str, _Storage]) -> None:
        super().__init__(file, encoding="utf-8")
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise WeightsError(f"it names {module}.{name}, which no weights file needs") from None

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", _StorageType(dtype=dtype), str(key), str(), int(numel), None):
                if not 0 <= numel < 2**40:
                    raise WeightsError(f"a storage of {numel} elements")
                return self._storages.setdefault(key, _Storage(dtype, numel))
        raise WeightsError("it has a persistent id of an unknown form")


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Read the tensors of a state dict.

    Args:
        path: A file of PyTorch's older format (before version 1.6).

    Returns:
        The tensors by name: float32 or int64 arrays in torch's layout, such as (out channels, in
        channels, height, width) for the kernel of a convolution.

    Raises:
        WeightsError: If the file is missing, damaged, or holds anything else. Nothing in it is
            executed: it may name OrderedDict, FloatStorage, LongStorage and _rebuild_tensor_v2.
    """
    try:
        with path.open("rb") as file:
            return _read(file, path.stat().st_size)
    except WeightsError as err:
        raise WeightsError(f"{path} is refused: {err}.") from err
    except OSError as err:
        raise WeightsError(f"Cannot read {path}: {err.strerror or err}.") from err
    except Exception as err:  # damaged pickles make the reader raise almost anything
        raise WeightsError(f"{path} is damaged: {type(err).__name__}: {err}") from err


def _read(file: BinaryIO, file_size: int) -> dict[str, NDArray[Any]]:
    storages: dict[str, _Storage] = {}

    def load() -> Any:
        return _Unpickler(file, storages).load()

    if load() != MAGIC_NUMBER or load() != PROTOCOL_VERSION:
        raise WeightsError("it is no PyTorch file of the older format")
    system = load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise WeightsError("it was not written on a little-endian machine")
    tensors = load()
    if not isinstance(tensors, OrderedDict):
        raise WeightsError("it holds no state dict")
    keys = load()
    if not isinstance(keys, list) or sorted(keys) != sorted(storages):
        raise WeightsError("its list of storages does not fit its tensors")
    for key in keys:
        storage = storages[key]
        size = storage.numel * storage.dtype.itemsize
        header = file.read(8)
        if int.from_bytes(header, "little", signed=True) != storage.numel or size > file_size:
            raise WeightsError(f"storage {key!r} is not of the announced size")
        data = file.read(size)
        if len(data) != size:
            raise WeightsError("it is cut short")
        storage.values = np.frombuffer(data, storage.dtype)
    found: dict[str, NDArray[Any]] = {}
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise WeightsError("an entry is no named tensor")
        found[name] = tensor.read()
    return found
