"""FeatureStore: what the frozen backbone makes of each image, computed once and kept on disk."""

from __future__ import annotations

import copy
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from tlkit.checked_json import read_checked_json, write_checked_json
from tlkit.errors import DataError
from tlkit.feature_filling import (
    DIGESTS,
    FEATURES,
    META,
    PARTIAL,
    TYPES,
    Features,
    Filling,
    Progress,
    Wanted,
    Warn,
    description_of,
    sharded,
)
from tlkit.paths import cache_folder, expand_home
from tlkit.shared_shards import SHARDS, SharedShards
from tlkit.store_urls import check_url, is_url


@dataclass(frozen=True)
class StoredFeatures:
    """One entry of the store, for listings.

    Attributes:
        fingerprint: Its key.
        backbone: Name of the backbone.
        images: The split that asked for them first, such as ``"train"`` or ``"train, view 2"``.
        dtype: The type that is stored.
        shape: Shape of the array: (images, *shape of one image's features).
        bytes: Size on disk.
        modified: Seconds since the epoch.
        complete: False for an extraction that was interrupted; the next run continues it.
    """

    fingerprint: str
    backbone: str
    images: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    modified: float
    complete: bool


class FeatureStore:
    """Features on disk, each under the fingerprint of everything that they depend on."""

    def __init__(self, folder: Path | None = None, shared: str = "") -> None:
        """Choose the folder.

        Args:
            folder: Where to keep features; by default ``$TLKIT_CACHE/features``, or the user's
                cache folder.
            shared: A folder or URL, such as ``s3://bucket/features``, which several machines use:
                what it holds is copied from there instead of computed, and what is computed is
                copied there. Empty for none.
        """
        self.folder = folder if folder is not None else default_cache_folder() / "features"
        self.shared = shared
        self._known_to_be_shared: set[str] = set()

    def sharing(self, location: str) -> Self:
        """Return the same store with another shared location."""
        store = copy.copy(self)
        store.shared, store._known_to_be_shared = location, set()
        return store

    def get(
        self, wanted: Wanted, progress: Progress | None = None, warn: Warn | None = None
    ) -> tuple[Features, bool]:
        """Return features, computing them if they are not stored.

        Each shard of what is stored is read and compared with its checksum; damaged and missing
        ones are taken from the shared location, or computed again. A run that is killed leaves
        whole shards; the next call goes on after them. Processes that want the same features wait
        for the first one; a dead one's lock is free.

        Args:
            wanted: What to find or compute.
            progress: Called with (done, total, seconds, kept): images finished, all images,
                seconds so far, and how many images would be there after an interrupt, as only whole
                shards are. Where some features are there, at first with these and 0 seconds.
            warn: Told what was damaged and is mended, in one line.

        Returns:
            A read-only memory-mapped array (N, ...), and whether nothing had to be computed.

        Raises:
            PluginError: If the backbone gives values that are not finite.
            DataError: If the features cannot be written.
            DataError, ObjectStoreError: If the shared location cannot be read.
        """
        from filelock import FileLock

        entry = self.folder / wanted.fingerprint
        array = sharded(entry / FEATURES, wanted.shape, TYPES[wanted.dtype])
        shared = SharedShards(self.shared, wanted.fingerprint) if self.shared else None
        stored = True
        try:
            if not array.path.exists() or array.damaged():
                entry.mkdir(parents=True, exist_ok=True)
                with FileLock(entry / "lock"):
                    stored = not Filling(entry, wanted, shared, progress, warn).run()
            elif shared is not None and wanted.fingerprint not in self._known_to_be_shared:
                with FileLock(entry / "lock"):
                    Filling(entry, wanted, shared, progress, warn).share()
        except OSError as err:
            raise DataError(
                f"Cannot keep features in {self.folder}: {err.strerror or err}. Free some "
                f"space there, or set TLKIT_CACHE to another folder. What is stored so far is "
                f"whole, and the next run goes on after it."
            ) from err
        self._known_to_be_shared.add(wanted.fingerprint)
        if read_checked_json(entry / META) is None:
            if warn is not None:
                warn(f"The description of stored features in {entry / META} was damaged; mended.")
            with suppress(OSError):  # a store that can be read only
                write_checked_json(entry / META, description_of(wanted))
        return np.load(array.path, mmap_mode="r"), stored

    def find(self, fingerprint: str) -> Features | None:
        """Return what is stored under a key, memory-mapped; None if it is missing or damaged."""
        path = self.folder / fingerprint / FEATURES
        try:
            found: Features = np.load(path, mmap_mode="r")
        except Exception:  # numpy parses the header, which may be damaged in any way
            return None
        return None if sharded(path, found.shape, found.dtype.str).damaged() else found

    def holds(self, fingerprint: str) -> bool:
        """Return whether an entry is there as a whole."""
        return (self.folder / fingerprint / FEATURES).exists()

    def seconds(self, fingerprint: str) -> float | None:
        """Return how long the extraction of an entry took; None if that is not known.

        For one that was interrupted this is what its last stretch took, scaled to all images.
        """
        meta = read_checked_json(self.folder / fingerprint / META)
        return None if meta is None else meta.get("seconds")

    def entries(self) -> list[StoredFeatures]:
        """Return the entries, the newest first."""
        found = [item for path in self._entries() if (item := _describe(path)) is not None]
        return sorted(found, key=lambda item: -item.modified)

    def clear(self) -> int:
        """Delete every entry that no process is writing; return the number of bytes freed."""
        from filelock import FileLock, Timeout

        freed = 0
        for entry in self._entries():
            try:
                with FileLock(entry / "lock", timeout=0):
                    freed += sum(item.stat().st_size for item in entry.rglob("*"))
                    shutil.rmtree(entry / SHARDS, ignore_errors=True)
                    for name in (FEATURES, PARTIAL, META, DIGESTS):
                        (entry / name).unlink(missing_ok=True)
            except Timeout:
                continue
            shutil.rmtree(entry, ignore_errors=True)
        return freed

    def _entries(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if path.is_dir()]


def shared_store(location: Path | str, store: FeatureStore | None = None) -> FeatureStore:
    """Return a store that shares its features with other machines.

    Args:
        location: A folder or URL; see ``FeatureStore``.
        store: Where the working copy is kept; by default the user's cache folder.

    Raises:
        ObjectStoreError: If it is a URL that cannot be used.
        PluginError: If a package is missing that it needs.
    """
    text = str(location)
    # Whole, so that a saved config means the same place from any folder.
    text = check_url(text) if is_url(text) else str(expand_home(text).absolute())
    return (store if store is not None else FeatureStore()).sharing(text)


def default_cache_folder() -> Path:
    """Return ``$TLKIT_CACHE``, or the user's cache folder for tlkit."""
    return cache_folder()


def free_bytes(folder: Path) -> int:
    """Return the free space of the disk that a folder is on, or will be on."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _describe(entry: Path) -> StoredFeatures | None:
    meta = read_checked_json(entry / META)
    try:
        complete = (entry / FEATURES).exists()
        stat = (entry / (FEATURES if complete else PARTIAL)).stat()
    except OSError:
        return None
    if meta is None:
        meta = {"backbone": "unknown", "images": "description damaged", "dtype": "", "shape": []}
    return StoredFeatures(
        fingerprint=entry.name,
        backbone=meta["backbone"],
        images=meta["images"],
        dtype=meta["dtype"],
        shape=tuple(meta["shape"]),
        bytes=stat.st_size,
        modified=stat.st_mtime,
        complete=complete,
    )
