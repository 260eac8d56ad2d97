"""Rows: taking some images or features out of an array on disk, or out of a lazy sequence."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np

from tlkit.records import ImageSequence, Int64Array

# Memory-mapped files up to this size stay resident once they are read.
MAX_RESIDENT_BYTES = 2**28
# TensorFlow takes shared memory on this boundary only (EIGEN_MAX_ALIGN_BYTES).
ALIGNMENT = 64


def take_rows(images: ImageSequence | Stacked, rows: Int64Array) -> Any:
    """Return copies of some rows, in the order asked for.

    Args:
        images: An array (N, ...), in memory or memory-mapped, or a lazy sequence of N pictures.
        rows: int64 array of indices.

    Returns:
        An array (len(rows), ...); for a lazy sequence the list of its pictures.
    """
    if isinstance(images, Stacked):
        return _take_stacked(images, rows)
    if not isinstance(images, np.ndarray):
        return [images[int(row)] for row in rows]
    taken = images[rows]
    release_pages(images)
    return taken


def share_with_tensorflow(array: Any) -> Any:
    """Return an array as a tensor that reads the same memory, or a copy where that cannot be.

    A copy of stored features would touch fresh pages for all of them, which took longer than half
    an epoch. A memory-mapped file is mapped once more, since only writable memory can be shared;
    what is written there would not reach the file.

    Args:
        array: An array in memory, or memory-mapped; it must not be changed while the tensor lives.
    """
    import tensorflow as tf

    file: Any = getattr(array, "base", None)
    whole = isinstance(array, np.memmap) and isinstance(file, mmap.mmap) and array.mode == "r"
    if whole and array.filename and array.flags.c_contiguous:
        # A file that was deleted meanwhile lives on in the map that there is.
        with contextlib.suppress(OSError):
            array = np.memmap(array.filename, array.dtype, "c", array.offset, array.shape)
    shareable = array.flags.writeable and array.flags.c_contiguous
    if shareable and array.ctypes.data % ALIGNMENT == 0 and array.dtype.isnative:
        with tf.device("CPU"):
            return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.convert_to_tensor(array)


class Stacked:
    """Arrays of one shape (N, ...) read as one long array: row ``k * N + i`` is row i of array k.

    Attributes:
        arrays: The arrays.
    """

    def __init__(self, arrays: Sequence[Any]) -> None:
        """Keep the arrays."""
        self.arrays = tuple(arrays)

    def __len__(self) -> int:
        return sum(len(array) for array in self.arrays)


def release_pages(array: Any) -> None:
    """Hand back the pages of a large memory-mapped array; nothing happens to other arrays.

    Touched pages of the file count as this process' memory until then. They stay in the system's
    page cache, so that reading them again costs no disk access.
    """
    size, mode = getattr(array, "nbytes", 0), ""
    while isinstance(array, np.ndarray):
        mode = getattr(array, "mode", mode)
        array = array.base
    # A copy-on-write map (mode "c") would lose what was changed in memory.
    if mode == "c" or size <= MAX_RESIDENT_BYTES:
        return
    if isinstance(array, mmap.mmap) and hasattr(array, "madvise"):
        array.madvise(mmap.MADV_DONTNEED)


def _take_stacked(stacked: Stacked, rows: Int64Array) -> Any:
    first = stacked.arrays[0]
    numbers, within = np.divmod(rows, len(first))
    taken = np.empty((len(rows), *first.shape[1:]), first.dtype)
    for number in np.unique(numbers):
        chosen = numbers == number
        taken[chosen] = take_rows(stacked.arrays[number], within[chosen])
    return taken
