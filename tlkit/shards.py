"""Shards: the rows of an array on disk in parts of about a megabyte, each with its SHA-256."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

SHARD_BYTES = 2**20
DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class ShardedArray:
    """A ``.npy`` file, and a file with the SHA-256 of each of its shards, one after another.

    The first shard's covers the header too. Readers need none of this: the file can be
    memory-mapped by ``numpy.load()``.

    Attributes:
        path: The ``.npy`` file.
        digests: The file of the digests.
        shape: Shape of the array: (rows, ...).
        descr: Its type, such as ``"<f4"``.
    """

    path: Path
    digests: Path
    shape: tuple[int, ...]
    descr: str

    @cached_property
    def header(self) -> bytes:
        """What the file begins with."""
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            buffer, {"descr": self.descr, "fortran_order": False, "shape": self.shape}
        )
        return buffer.getvalue()

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return np.dtype(self.descr).itemsize * int(np.prod(self.shape[1:]))

    @cached_property
    def rows_per_shard(self) -> int:
        """Rows of each shard but the last, 1 or more."""
        return max(1, SHARD_BYTES // max(1, self.row_bytes))

    @property
    def num_shards(self) -> int:
        """The number of shards."""
        return -(-self.shape[0] // self.rows_per_shard)

    def rows(self, shards: range) -> range:
        """Return the rows of some shards that follow each other."""
        each = self.rows_per_shard
        return range(shards.start * each, min(shards.stop * each, self.shape[0]))

    def whole_rows(self, rows: int) -> int:
        """Return how many of the first rows lie in whole shards.

        Args:
            rows: A number of rows, 0 to all.
        """
        return rows if rows == self.shape[0] else rows - rows % self.rows_per_shard

    def missing(self) -> list[int]:
        """Return the shards that the file, or that of the digests, is too short for, in order."""
        size, digests = (
            path.stat().st_size if path.exists() else 0 for path in (self.path, self.digests)
        )
        return [
            shard
            for shard in range(self.num_shards)
            if self._end(shard) > size or (shard + 1) * DIGEST_BYTES > digests
        ]

    def damaged(self) -> list[int]:
        """Return the shards that are missing or not what was written, in order.

        The whole file is read.
        """
        try:
            known = self.digests.read_bytes()
        except OSError:
            known = b""

        def is_whole(shard: int) -> bool:
            expected = known[shard * DIGEST_BYTES : (shard + 1) * DIGEST_BYTES]
            return self._digest(shard) == expected

        # hashlib and reading work outside Python's global lock.
        with ThreadPoolExecutor() as pool:
            whole = pool.map(is_whole, range(self.num_shards))
            return [shard for shard, right in enumerate(whole) if not right]

    def fill(self, shards: range, batches: Iterable[Any], *, lasting: bool = True) -> Iterator[int]:
        """Write some shards; each is followed by its digest.

        A process that is killed meanwhile leaves whole shards and one that ``damaged()`` finds.

        Args:
            shards: Shards that follow each other; the file is cut off or grows where they begin
                at its end.
            batches: The rows from the first of these shards on, in batches of any size; batches
                beyond the last shard are not asked for.
            lasting: Whether to wait at the end until the disk holds them; see ``sync()``.

        Yields:
            After each batch, the number of the row that is next.

        Raises:
            OSError: If the files cannot be written.
        """
        wanted = self.rows(shards)
        row, shard, digest = wanted.start, shards.start, self._begin(shards.start)
        with self._open(self.path) as file, self._open(self.digests) as digests:
            file.write(self.header)
            file.seek(len(self.header) + row * self.row_bytes)
            for batch in batches:
                rest = batch[: wanted.stop - row]
                while len(rest):
                    end = self.rows(range(shard, shard + 1)).stop
                    part, rest = rest[: end - row], rest[end - row :]
                    file.write(part.data)
                    digest.update(part.data)
                    row += len(part)
                    if row == end:
                        file.flush()
                        digests.seek(shard * DIGEST_BYTES)
                        digests.write(digest.digest())
                        digests.flush()
                        shard += 1
                        digest = self._begin(shard)
                yield row
                if row == wanted.stop:
                    break
        if lasting:
            self.sync()

    def sync(self) -> None:
        """Wait until the disk holds what was written."""
        for path in (self.path, self.digests):
            with self._open(path) as file:
                os.fsync(file.fileno())

    def read(self, shard: int) -> Any:
        """Return the rows of a shard, (rows, ...), as they lie in the file; nothing is checked.

        Raises:
            OSError: If the file cannot be read.
        """
        rows = self.rows(range(shard, shard + 1))
        with self.path.open("rb", buffering=0) as file:
            file.seek(len(self.header) + rows.start * self.row_bytes)
            data = file.read(len(rows) * self.row_bytes)
        return np.frombuffer(data, self.descr).reshape(len(rows), *self.shape[1:])

    def keep_first(self, shards: int) -> None:
        """Cut off what follows the first shards."""
        end = self.rows(range(shards)).stop
        for path, size in (
            (self.path, len(self.header) + end * self.row_bytes),
            (self.digests, shards * DIGEST_BYTES),
        ):
            with self._open(path) as file:
                file.truncate(size)

    def _digest(self, shard: int) -> bytes:
        rows = self.rows(range(shard, shard + 1))
        begin = 0 if shard == 0 else len(self.header) + rows.start * self.row_bytes
        end = self._end(shard)
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(begin)
                data = file.read(end - begin)
        except OSError:
            return b"unreadable"
        return hashlib.sha256(data).digest()

    def _end(self, shard: int) -> int:
        """Return the place in the file where a shard ends."""
        return len(self.header) + self.rows(range(shard, shard + 1)).stop * self.row_bytes

    def _begin(self, shard: int) -> Any:
        return hashlib.sha256(self.header if shard == 0 else b"")

    @staticmethod
    def _open(path: Path) -> io.BufferedRandom:
        path.touch()
        return path.open("r+b")


def neighbours(shards: Sequence[int]) -> list[range]:
    """Return the same shards as ranges of those that follow each other."""
    found: list[range] = []
    for shard in shards:
        if found and found[-1].stop == shard:
            found[-1] = range(found[-1].start, shard + 1)
        else:
            found.append(range(shard, shard + 1))
    return found
