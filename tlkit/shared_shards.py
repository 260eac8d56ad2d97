"""Shared shards: features where several machines reach them, as objects that check themselves."""

from __future__ import annotations

import hashlib
import io
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tlkit.atomic import atomic_write_bytes
from tlkit.checked_json import parse_checked_json, render_checked_json
from tlkit.errors import DataError, ObjectMissingError, ObjectStoreError
from tlkit.object_store import ObjectStore
from tlkit.store_urls import check_url, is_url, join

META, SHARDS, MARKS = "meta.json", "shards", "marks"
# So many at once: the way to an object store is long, and wide.
TRANSFERS = 8
_NAME = re.compile(r"(\d{6,})-([0-9a-f]{64})\.npy")

T = TypeVar("T")
U = TypeVar("U")


class SharedShards:
    """The shards of one entry of a feature store, each an object whose name holds its SHA-256.

    Since a name says what is in the object, nothing is ever written half, and it does no harm where
    two workers write the same shard. Objects of one shard that differ, as features of different
    processors do in their last digits, lie side by side; any of them will do.

    Attributes:
        location: The folder or URL of the feature store.
        fingerprint: The key of the entry.
    """

    def __init__(self, location: str, fingerprint: str) -> None:
        """Name the entry; nothing is read.

        Args:
            location: A folder, or a URL such as ``s3://bucket/features``.
            fingerprint: The key.

        Raises:
            ObjectStoreError: If it is a URL that cannot be used.
            PluginError: If a package is missing that it needs.
        """
        self.location, self.fingerprint = location, fingerprint
        self._files: _Folder | _Objects
        if is_url(location):
            self._files = _Objects(join(check_url(location), fingerprint))
        else:
            self._files = _Folder(Path(location) / fingerprint)

    def __reduce__(self) -> Any:
        """Pickle where it is and not how to get there: another machine has its own credentials."""
        return type(self), (self.location, self.fingerprint)

    def __str__(self) -> str:
        return f"{self.location.rstrip('/')}/{self.fingerprint}"

    def listing(self) -> dict[int, list[str]]:
        """Return the names of the objects of each shard, whole or not, by its number.

        Raises:
            DataError, ObjectStoreError: If the location cannot be read.
        """
        found: dict[int, list[str]] = {}
        for name in sorted(self._files.names(SHARDS)):
            if match := _NAME.fullmatch(name):
                found.setdefault(int(match[1]), []).append(name)
        return found

    def read(self, name: str, shape: tuple[int, ...], descr: str) -> Any:
        """Return the rows of an object; None if it is missing, or not what its name says.

        Args:
            name: From ``listing()`` or ``write()``.
            shape: The shape that the rows must have, (rows, ...).
            descr: Their type, such as ``"<f4"``.

        Raises:
            DataError, ObjectStoreError: If the location cannot be read.
        """
        match = _NAME.fullmatch(name)
        data = self._files.read(f"{SHARDS}/{name}") if match else None
        if data is None or match is None or hashlib.sha256(data).hexdigest() != match[2]:
            return None
        try:
            rows = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
        except ValueError:
            return None
        return rows if rows.shape == shape and rows.dtype.str == descr else None

    def write(self, shard: int, rows: Any) -> str:
        """Write the rows of a shard, and return the object's name.

        Args:
            shard: Its number.
            rows: An array (rows, ...).

        Raises:
            DataError, ObjectStoreError: If the location cannot be written.
        """
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, rows, version=(1, 0), allow_pickle=False)
        data = buffer.getvalue()
        name = f"{shard:06d}-{hashlib.sha256(data).hexdigest()}.npy"
        self._files.write(f"{SHARDS}/{name}", data)
        return name

    def remove(self, name: str) -> None:
        """Delete an object that is damaged, if this is allowed."""
        self._files.remove(f"{SHARDS}/{name}")

    @contextmanager
    def marked(self) -> Iterator[str]:
        """Keep an object there, by which other machines see that they reach the same place.

        Yields:
            Its name, for ``holds()``.

        Raises:
            DataError, ObjectStoreError: If the location cannot be written.
        """
        name = f"{MARKS}/{secrets.token_hex(16)}"
        self._files.write(name, b"tlkit")
        try:
            yield name
        finally:
            self._files.remove(name)

    def holds(self, name: str) -> bool:
        """Return whether an object of ``marked()`` is there.

        Raises:
            DataError, ObjectStoreError: If the location cannot be read.
        """
        return self._files.read(name) is not None

    def description(self) -> dict[str, Any] | None:
        """Return what was noted when all shards were there; None if they never were.

        Raises:
            DataError, ObjectStoreError: If the location cannot be read.
        """
        data = self._files.read(META)
        return None if data is None else parse_checked_json(data)

    def describe(self, description: Mapping[str, Any]) -> None:
        """Note that all shards are there, and what they are.

        Raises:
            DataError, ObjectStoreError: If the location cannot be written.
        """
        self._files.write(META, render_checked_json(description))


class _Folder:
    """The files of an entry in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self, folder: str) -> list[str]:
        with self._told("read"):
            try:
                return [path.name for path in (self._folder / folder).iterdir()]
            except FileNotFoundError:
                return []

    def read(self, name: str) -> bytes | None:
        with self._told("read"):
            try:
                return (self._folder / name).read_bytes()
            except FileNotFoundError:
                return None

    def write(self, name: str, data: bytes) -> None:
        path = self._folder / name
        with self._told("write to"):
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_bytes(path, data)

    def remove(self, name: str) -> None:
        with suppress(OSError):
            (self._folder / name).unlink()

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            raise DataError(
                f"Cannot {what} the feature store {self._folder.parent}: {err.strerror or err}. "
                f"What is stored so far is whole."
            ) from err


class _Objects:
    """The objects of an entry in an object store."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._store = ObjectStore(url)

    def names(self, folder: str) -> list[str]:
        return list(ObjectStore(join(self._url, folder)).contents())

    def read(self, name: str) -> bytes | None:
        try:
            return self._store.read(name)
        except ObjectMissingError:
            return None

    def write(self, name: str, data: bytes) -> None:
        self._store.write(name, data)

    def remove(self, name: str) -> None:
        with suppress(ObjectStoreError):
            self._store.remove(name)


def in_threads(function: Callable[[T], U], items: Iterable[T]) -> Iterator[tuple[T, U]]:
    """Yield each item with what a function makes of it, in order, computed some items ahead.

    Args:
        function: Called from several threads at once; what it raises is raised here.
        items: Asked for one after another, no more than ``TRANSFERS`` ahead.
    """
    pending: list[tuple[T, Future[U]]] = []
    with ThreadPoolExecutor(TRANSFERS) as pool:
        try:
            for item in items:
                pending.append((item, pool.submit(function, item)))
                while pending and (len(pending) >= TRANSFERS or pending[0][1].done()):
                    first, future = pending.pop(0)
                    yield first, future.result()
            while pending:
                first, future = pending.pop(0)
                yield first, future.result()
        finally:
            for _, future in pending:
                future.cancel()
