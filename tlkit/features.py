"""FeatureStore: what the frozen backbone makes of each image, computed once and kept on disk."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tlkit.checked_json import read_checked_json, write_checked_json
from tlkit.errors import DataError, PluginError
from tlkit.shards import ShardedArray, neighbours
from tlkit.wording import plural

FEATURES, PARTIAL, META = "features.npy", "features.partial", "meta.json"
DIGESTS = "shards.sha256"
TYPES = {"float32": "<f4", "float16": "<f2"}

FeatureType = Literal["float32", "float16"]
Progress = Callable[[int, int, float, int], None]
Warn = Callable[[str], None]
Features = NDArray[np.floating[Any]]


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


@dataclass(frozen=True)
class Wanted:
    """What to find in the store, or to compute and keep.

    Attributes:
        fingerprint: The key; see ``tlkit.fingerprint``.
        shape: Shape of the array: (images, *shape of one image's features).
        backbone: Name of the backbone, for the listing and for errors.
        compute: Called with a row number; yields the features from that row on, batch by batch.
        dtype: The type to store.
        images: What they are features of, for the listing.
        origin: The distribution that the backbone is from, for errors.
    """

    fingerprint: str
    shape: tuple[int, ...]
    backbone: str
    compute: Callable[[int], Generator[Any]]
    dtype: FeatureType = "float32"
    images: str = ""
    origin: str = ""

    @property
    def who(self) -> str:
        """The beginning of a sentence on what the backbone did wrong."""
        return f"Backbone '{self.backbone}'{f' of {self.origin}' if self.origin else ''}"


class FeatureStore:
    """Features on disk, each under the fingerprint of everything that they depend on."""

    def __init__(self, folder: Path | None = None) -> None:
        """Choose the folder.

        Args:
            folder: Where to keep features; by default ``$TLKIT_CACHE/features``, or the user's
                cache folder.
        """
        self.folder = folder if folder is not None else default_cache_folder() / "features"

    def get(
        self, wanted: Wanted, progress: Progress | None = None, warn: Warn | None = None
    ) -> tuple[Features, bool]:
        """Return features, computing them if they are not stored.

        Each shard of what is stored is read and compared with its checksum; damaged and missing
        ones are computed again. A run that is killed leaves whole shards; the next call goes on
        after them. Processes that want the same features wait for the first one; a dead one's lock
        is free.

        Args:
            wanted: What to find or compute.
            progress: Called with (done, total, seconds, kept): images finished, all images,
                seconds so far, and how many images would be there after an interrupt, as only whole
                shards are. Where some features are there, at first with these and 0 seconds.
            warn: Told what was damaged and is mended, in one line.

        Returns:
            A read-only memory-mapped array (N, ...), and whether all of it was stored already.

        Raises:
            PluginError: If the backbone gives values that are not finite.
            DataError: If the features cannot be written.
        """
        from filelock import FileLock

        entry = self.folder / wanted.fingerprint
        array = _sharded(entry / FEATURES, wanted.shape, TYPES[wanted.dtype])
        stored = array.path.exists()
        try:
            if not stored or array.damaged():
                entry.mkdir(parents=True, exist_ok=True)
                with FileLock(entry / "lock"):
                    stored = array.path.exists()
                    if stored:
                        stored = not _mend(array, wanted, progress, warn)
                    else:
                        _extract(entry, wanted, progress)
        except OSError as err:
            raise DataError(
                f"Cannot keep features in {self.folder}: {err.strerror or err}. Free some "
                f"space there, or set TLKIT_CACHE to another folder. What is stored so far is "
                f"whole, and the next run goes on after it."
            ) from err
        if read_checked_json(entry / META) is None:
            if warn is not None:
                warn(f"The description of stored features in {entry / META} was damaged; mended.")
            with suppress(OSError):  # a store that can be read only
                write_checked_json(entry / META, _description(wanted))
        return np.load(array.path, mmap_mode="r"), stored

    def find(self, fingerprint: str) -> Features | None:
        """Return what is stored under a key, memory-mapped; None if it is missing or damaged."""
        path = self.folder / fingerprint / FEATURES
        try:
            found: Features = np.load(path, mmap_mode="r")
        except Exception:  # numpy parses the header, which may be damaged in any way
            return None
        return None if _sharded(path, found.shape, found.dtype.str).damaged() else found

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
                    freed += sum(item.stat().st_size for item in entry.iterdir())
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


def default_cache_folder() -> Path:
    """Return ``$TLKIT_CACHE``, or the user's cache folder for tlkit."""
    import platformdirs

    return Path(os.environ.get("TLKIT_CACHE") or platformdirs.user_cache_dir("tlkit"))


def free_bytes(folder: Path) -> int:
    """Return the free space of the disk that a folder is on, or will be on."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _sharded(path: Path, shape: tuple[int, ...], descr: str) -> ShardedArray:
    return ShardedArray(path, path.with_name(DIGESTS), shape, descr)


def _description(wanted: Wanted) -> dict[str, Any]:
    return {
        "backbone": wanted.backbone,
        "images": wanted.images,
        "dtype": wanted.dtype,
        "shape": list(wanted.shape),
    }


def _extract(entry: Path, wanted: Wanted, progress: Progress | None) -> None:
    write_checked_json(entry / META, _description(wanted))
    array = _sharded(entry / PARTIAL, wanted.shape, TYPES[wanted.dtype])
    total, kept = wanted.shape[0], next(iter(array.damaged()), array.num_shards)
    array.keep_first(kept)
    first = array.rows(range(kept)).stop
    begin = time.monotonic()
    if first and progress is not None:
        progress(first, total, 0.0, first)
    for done in _fill(array, range(kept, array.num_shards), wanted):
        if progress is not None:
            progress(done, total, time.monotonic() - begin, array.whole_rows(done))
    if total > first:
        seconds = (time.monotonic() - begin) * total / (total - first)
        write_checked_json(entry / META, {**_description(wanted), "seconds": seconds})
    array.path.replace(entry / FEATURES)


def _mend(
    array: ShardedArray, wanted: Wanted, progress: Progress | None, warn: Warn | None
) -> bool:
    """Compute damaged and missing shards again; return whether there were any.

    Another process may have done so meanwhile.
    """
    damaged, missing = array.damaged(), array.missing()
    without_digests = not array.digests.exists()
    # Whatever follows the last shard is no part of it.
    array.keep_first(array.num_shards)
    places = [array.rows(shards) for shards in neighbours(damaged)]
    total = wanted.shape[0]
    done, begin = total - sum(map(len, places)), time.monotonic()
    if places and progress is not None:
        progress(done, total, 0.0, done)
    for shards, place in zip(neighbours(damaged), places, strict=True):
        for row in _fill(array, shards, wanted):
            if progress is not None:
                now = done + row - place.start
                kept = done + array.whole_rows(row) - place.start
                progress(now, total, time.monotonic() - begin, kept)
        done += len(place)
    if damaged and warn is not None:
        changed = set(damaged) - set(missing)
        counts = [
            f"{number} {'was' if number == 1 else 'were'} {what}"
            for number, what in ((len(changed), "damaged"), (len(missing), "missing"))
            if number
        ]
        rows = ", ".join(f"{place.start:,} to {place.stop - 1:,}" for place in places[:5])
        more = f" and {len(places) - 5} more stretches" if len(places) > 5 else ""
        why = f" Their checksums, {array.digests}, were deleted." if without_digests else ""
        ask = f" Is the disk of {array.path.parent.parent} sound?" if changed else ""
        warn(
            f"Stored features of {wanted.images or 'images'} ({wanted.backbone}): of "
            f"{plural(array.num_shards, 'shard')} {' and '.join(counts)}. Those of images "
            f"{rows}{more} were computed again.{why}{ask}"
        )
    return bool(damaged)


def _fill(array: ShardedArray, shards: range, wanted: Wanted) -> Iterator[int]:
    """Compute and write some shards; yield after each batch the row that is next."""
    rows = array.rows(shards)
    done = rows.start
    if not rows:
        return
    with closing(_finite(wanted, rows.start)) as batches:
        for done in array.fill(shards, batches):
            yield done
    if done != rows.stop:
        raise PluginError(
            f"{wanted.who} gave features of {done} images instead of {wanted.shape[0]}."
        )


def _finite(wanted: Wanted, first: int) -> Generator[Any]:
    with closing(wanted.compute(first)) as batches:
        for batch in batches:
            with np.errstate(over="ignore"):  # found and said just below
                features = np.ascontiguousarray(batch, dtype=TYPES[wanted.dtype])
            if features.shape[1:] != wanted.shape[1:]:
                raise PluginError(
                    f"{wanted.who} gave features of the shape "
                    f"{features.shape[1:]} for an image instead of {wanted.shape[1:]}."
                )
            if not np.isfinite(features).all():
                raise PluginError(
                    f"{wanted.who} gave features that are not finite as "
                    f"{wanted.dtype} (NaN or infinity) for images {first} to "
                    f"{first + len(features) - 1}. Check its weights and its preprocess()."
                )
            first += len(features)
            yield features


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
