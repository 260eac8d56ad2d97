"""EncodedPictures: a sequence of pictures that are read and decoded when they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, overload

from tlkit.errors import PictureError
from tlkit.images import Source, name_of, read_picture, stored_content, unreadable
from tlkit.records import UInt8Array
from tlkit.stored_path import StoredPath
from tlkit.threads import map_in_threads

READ_AT_ONCE = 16


class _Chosen(Sequence[Any]):
    """Some items of a sequence, which may be a lazy one."""

    def __init__(self, items: Sequence[Any], rows: Sequence[int]) -> None:
        self._items, self._rows = items, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return _Chosen(self._items, self._rows[index])
        return self._items[self._rows[index]]


def digest_of_digests(digests: Sequence[bytes]) -> str:
    """Return the SHA-256 of all pictures of a sequence, given that of each.

    So one reading of the files serves both, and it can be shared out among threads.
    """
    return hashlib.sha256(b"".join(digests)).hexdigest()


class EncodedPictures(Sequence[UInt8Array]):
    """Pictures that are read and decoded when they are asked for.

    Attributes:
        sources: Where they come from, in order.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        names: Sequence[str] | None = None,
        hint: str = "",
    ) -> None:
        """Keep the sources.

        Args:
            sources: For each picture the path of its file, be it in an object store, or the file's
                content. A lazy sequence is asked from several threads at once.
            names: What errors call them; by default their paths.
            hint: Said after the error about a picture that cannot be read: what to do about it.
        """
        self.sources: Sequence[Any] = sources
        self._names, self._hint = names, hint

    def __len__(self) -> int:
        return len(self.sources)

    @overload
    def __getitem__(self, index: int) -> UInt8Array: ...
    @overload
    def __getitem__(self, index: slice) -> EncodedPictures: ...

    def __getitem__(self, index: int | slice) -> UInt8Array | EncodedPictures:
        if isinstance(index, slice):
            return self.take(range(len(self))[index])
        name = None if self._names is None else self._names[index]
        try:
            return read_picture(self.sources[index], name)
        except PictureError as err:
            if not self._hint:
                raise
            raise PictureError(f"{str(err).rstrip('.')}. {self._hint}", err.reason) from err

    def __iter__(self) -> Iterator[UInt8Array]:
        return (self[index] for index in range(len(self)))

    def take(self, rows: Sequence[int]) -> EncodedPictures:
        """Return some of the pictures, in the order of their indices."""
        names = None if self._names is None else _Chosen(self._names, rows)
        return EncodedPictures(_Chosen(self.sources, rows), names, self._hint)

    def part(self, rows: range) -> EncodedPictures:
        """Return pictures that follow each other, without a trace of the others."""
        sources = [self.sources[row] for row in rows]
        names = None if self._names is None else [self._names[row] for row in rows]
        return EncodedPictures(sources, names, self._hint)

    def loaded(self, who: str) -> EncodedPictures:
        """Return the same pictures with their files read, not decoded.

        Args:
            who: Said of a file that cannot be read: who tried, such as ``" on node a"``.

        Raises:
            PictureError: If a file cannot be read.
        """
        names = [
            name_of(source, None if self._names is None else self._names[index])
            for index, source in enumerate(self.sources)
        ]

        def content(index: int) -> bytes:
            try:
                return self._content(index)
            except PictureError as err:
                reason = f"{err.reason.rstrip('.')}{who}"
                raise PictureError(
                    f"Cannot read the picture {names[index]}: {reason}", reason
                ) from err

        # The way to an object store is long, and many files fit on it at a time.
        with ThreadPoolExecutor(READ_AT_ONCE) as pool:
            contents = list(pool.map(content, range(len(self))))
        return EncodedPictures(contents, names, self._hint)

    def fingerprint(self) -> str:
        """Return the SHA-256 of what ``digests()`` returns, in order.

        Raises:
            PictureError: If a file cannot be read.
        """
        return digest_of_digests(self.digests())

    def digests(self) -> list[bytes]:
        """Return the SHA-256 of each encoded picture: equal ones are copies of one file.

        Raises:
            PictureError: If a file cannot be read.
        """
        return map_in_threads(self._digest, len(self))

    def _digest(self, index: int) -> bytes:
        return hashlib.sha256(self._content(index)).digest()

    def _content(self, index: int) -> bytes:
        source = self.sources[index]
        if isinstance(source, bytes):
            return source
        if isinstance(source, StoredPath):
            return stored_content(source, str(source))
        try:
            return Path(source).read_bytes()
        except OSError as err:
            raise unreadable(source, None, err) from err


class PictureFiles(EncodedPictures):
    """Picture files that are read when they are asked for.

    Attributes:
        paths: The files, in order.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Keep the paths.

        Args:
            paths: The files, in order.
        """
        self.paths = tuple(paths)
        super().__init__(self.paths)
