"""Files in object stores that are read where they lie, by the names of pathlib."""

from __future__ import annotations

import posixpath
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tlkit.errors import DataError, ObjectMissingError
from tlkit.object_store import ObjectStore, StoredObject
from tlkit.paths import expand_home
from tlkit.store_urls import is_url
from tlkit.text import printable

# Files that were read lately are kept up to so many bytes in all, so that a set of this size is
# fetched once for its check, its fingerprint and its features.
MOST_BYTES_KEPT = 256 * 2**20


def open_place(place: Path | str) -> Path | StoredPath:
    """Return a path, or for a URL what is listed below it; nothing else is fetched.

    Args:
        place: A path, or the URL of a folder or of an object, such as ``s3://bucket/pictures``.

    Raises:
        DataError: If it is empty.
        ObjectStoreError: If the URL cannot be used, or there is no such bucket.
        PluginError: If the package for its protocol is not installed.
    """
    if not str(place).strip():
        raise DataError("[dataset] has an empty path: give a folder, a file or a URL.")
    if not is_url(place):
        return expand_home(place)
    store = ObjectStore(str(place))
    return StoredPath(_Listing.of(store), "")


@dataclass(frozen=True)
class _Listing:
    """The files below a URL, and what is in each folder."""

    url: str
    files: dict[str, StoredObject]
    folders: dict[str, dict[str, None]] = field(default_factory=dict)

    @classmethod
    def of(cls, store: ObjectStore) -> _Listing:
        files = store.contents()
        if not files and (single := store.find()) is not None:
            files = {"": single}
        listing = cls(store.url, files)
        for name in files:
            # From the deepest folder up, until one is known.
            while name:
                folder, _, last = name.rpartition("/")
                known = folder in listing.folders
                listing.folders.setdefault(folder, {})[last] = None
                if known:
                    break
                name = folder
        return listing

    @classmethod
    def of_one(cls, url: str, item: StoredObject) -> _Listing:
        return cls(url, {item.name: item})


class StoredPath:
    """A file or folder in an object store, as it was listed; its content is fetched when read.

    It has those names of ``pathlib.Path`` that data sets need. Paths sort as those of local files
    do. It may be pickled: a file without the listing that it stands in, and never with credentials.
    """

    __slots__ = ("_listing", "_name")

    def __init__(self, listing: _Listing, name: str) -> None:
        self._listing, self._name = listing, name

    def __reduce__(self) -> tuple[object, ...]:
        item = self._listing.files.get(self._name)
        if item is None:
            return StoredPath, (self._listing, self._name)
        return _one_file, (self._listing.url, item)

    def __str__(self) -> str:
        return f"{self._listing.url}/{self._name}" if self._name else self._listing.url

    def __repr__(self) -> str:
        return f"StoredPath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoredPath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __lt__(self, other: StoredPath) -> bool:
        return str(self).split("/") < str(other).split("/")

    def __truediv__(self, text: str) -> StoredPath:
        """Return what lies below, ``..`` resolved; what leads out of the URL is not there."""
        return StoredPath(self._listing, posixpath.normpath(posixpath.join(self._name, text)))

    @property
    def name(self) -> str:
        """The last part."""
        return str(self).rpartition("/")[2]

    def is_file(self) -> bool:
        """Return whether it is an object."""
        return self._name in self._listing.files

    def is_dir(self) -> bool:
        """Return whether there are objects below it."""
        return self._name in self._listing.folders

    def iterdir(self) -> Iterator[StoredPath]:
        """Yield what is right below it."""
        start = f"{self._name}/" if self._name else ""
        for name in self._listing.folders.get(self._name, ()):
            yield StoredPath(self._listing, f"{start}{name}")

    def files(self) -> Iterator[StoredPath]:
        """Yield all files below it."""
        start = f"{self._name}/" if self._name else ""
        for name in self._listing.files:
            if name.startswith(start) and name != self._name:
                yield StoredPath(self._listing, name)

    def relative_to(self, folder: StoredPath) -> PurePosixPath:
        """Return the part of it that follows a folder."""
        return PurePosixPath(posixpath.relpath(self._name or ".", folder._name or "."))

    def is_below(self, folder: StoredPath) -> bool:
        """Return whether its name, with ``..`` resolved, is one below a folder."""
        below = posixpath.normpath(self._name)
        return not below.startswith(("..", "/")) and (
            not folder._name or below.startswith(f"{folder._name}/")
        )

    def resolve(self) -> StoredPath:
        """Return itself: object stores have no links."""
        return self

    def read_bytes(self) -> bytes:
        """Fetch the content; files that were read lately are kept.

        Raises:
            DataError: If the object is gone or was replaced since it was listed.
            ObjectStoreError: If the store does not answer.
        """
        item = self._listing.files[self._name]
        key = str(self), item.tag
        data = _kept.get(key)
        if data is not None:
            return data
        try:
            data = ObjectStore(self._listing.url).read(self._name)
        except ObjectMissingError as err:
            raise DataError(f"{printable(str(self))} was deleted while it was in use.") from err
        if len(data) != item.size:
            raise DataError(f"{printable(str(self))} was replaced while it was in use.")
        _kept.keep(key, data)
        return data


def _one_file(url: str, item: StoredObject) -> StoredPath:
    return StoredPath(_Listing.of_one(url, item), item.name)


class _Kept:
    """The contents of files that were read last."""

    def __init__(self) -> None:
        self._data: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: tuple[str, str]) -> bytes | None:
        with self._lock:
            data = self._data.get(key)
            if data is not None:
                self._data.move_to_end(key)
            return data

    def keep(self, key: tuple[str, str], data: bytes) -> None:
        with self._lock:
            if not key[1] or key in self._data or len(data) > MOST_BYTES_KEPT:
                return
            self._data[key] = data
            self._bytes += len(data)
            while self._bytes > MOST_BYTES_KEPT:
                self._bytes -= len(self._data.popitem(last=False)[1])


_kept = _Kept()
