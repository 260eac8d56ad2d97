"""FeatureStore: what the frozen backbone makes of each image, computed once and kept on disk."""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tlkit.atomic import atomic_write_text
from tlkit.errors import DataError, PluginError

FEATURES, PARTIAL, META = "features.npy", "features.partial", "meta.json"
TYPES = {"float32": "<f4", "float16": "<f2"}

FeatureType = Literal["float32", "float16"]
Progress = Callable[[int, int, float], None]
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
    """

    fingerprint: str
    shape: tuple[int, ...]
    backbone: str
    compute: Callable[[int], Iterator[Any]]
    dtype: FeatureType = "float32"
    images: str = ""


class FeatureStore:
    """Features on disk, each under the fingerprint of everything that they depend on."""

    def __init__(self, folder: Path | None = None) -> None:
        """Choose the folder.

        Args:
            folder: Where to keep features; by default ``$TLKIT_CACHE/features``, or the user's
                cache folder.
        """
        self.folder = folder if folder is not None else default_cache_folder() / "features"

    def get(self, wanted: Wanted, progress: Progress | None = None) -> tuple[Features, bool]:
        """Return features, computing them if they are not stored.

        A run that is killed leaves whole rows; the next call goes on after the last one. Processes
        that want the same features wait for the first one.

        Args:
            wanted: What to find or compute.
            progress: Called with (done, total, seconds); where an interrupted extraction goes on,
                at first with the images that are there and 0 seconds.

        Returns:
            A read-only memory-mapped array (N, ...), and whether it was stored already.

        Raises:
            PluginError: If the backbone gives values that are not finite.
            DataError: If the features cannot be written.
        """
        from filelock import FileLock

        entry = self.folder / wanted.fingerprint
        if not (entry / FEATURES).exists():
            try:
                entry.mkdir(parents=True, exist_ok=True)
                with FileLock(entry / "lock"):
                    if not (entry / FEATURES).exists():
                        self._extract(entry, wanted, progress)
                        return np.load(entry / FEATURES, mmap_mode="r"), False
            except OSError as err:
                raise DataError(
                    f"Cannot keep features in {self.folder}: {err.strerror or err}. Free some "
                    f"space there, or set TLKIT_CACHE to another folder."
                ) from err
        return np.load(entry / FEATURES, mmap_mode="r"), True

    def holds(self, fingerprint: str) -> bool:
        """Return whether an entry is there as a whole."""
        return (self.folder / fingerprint / FEATURES).exists()

    def seconds(self, fingerprint: str) -> float | None:
        """Return how long the extraction of an entry took; None if that is not known.

        For one that was interrupted this is what its last stretch took, scaled to all images.
        """
        try:
            meta = json.loads((self.folder / fingerprint / META).read_text(encoding="utf-8"))
            return float(meta["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

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
                    for name in (FEATURES, PARTIAL, META):
                        (entry / name).unlink(missing_ok=True)
            except Timeout:
                continue
            shutil.rmtree(entry, ignore_errors=True)
        return freed

    def _entries(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if path.is_dir()]

    def _extract(self, entry: Path, wanted: Wanted, progress: Progress | None) -> None:
        shape, dtype = wanted.shape, np.dtype(TYPES[wanted.dtype])
        described = {
            "backbone": wanted.backbone,
            "images": wanted.images,
            "dtype": wanted.dtype,
            "shape": shape,
        }
        atomic_write_text(entry / META, json.dumps(described, indent=2))
        header = _npy_header(shape, TYPES[wanted.dtype])
        row_bytes = dtype.itemsize * int(np.prod(shape[1:]))
        partial = entry / PARTIAL
        partial.touch()
        first = done = max(0, partial.stat().st_size - len(header)) // row_bytes
        begin = time.monotonic()
        if first and progress is not None:
            progress(first, shape[0], 0.0)
        with partial.open("r+b") as file:
            file.write(header)
            file.truncate(len(header) + done * row_bytes)
            file.seek(0, os.SEEK_END)
            for batch in wanted.compute(done):
                with np.errstate(over="ignore"):  # found and said just below
                    features = np.ascontiguousarray(batch, dtype=dtype)
                if not np.isfinite(features).all():
                    raise PluginError(
                        f"Backbone '{wanted.backbone}' gave features that are not finite as "
                        f"{wanted.dtype} (NaN or infinity) for images {done} to "
                        f"{done + len(features) - 1}. Check its weights and its preprocess()."
                    )
                file.write(features.data)
                done += len(features)
                if progress is not None:
                    progress(done, shape[0], time.monotonic() - begin)
            if done != shape[0]:
                raise PluginError(
                    f"Backbone '{wanted.backbone}' gave features of {done} images instead of "
                    f"{shape[0]}."
                )
            file.flush()
            os.fsync(file.fileno())
        if done > first:
            seconds = (time.monotonic() - begin) * done / (done - first)
            atomic_write_text(entry / META, json.dumps({**described, "seconds": seconds}, indent=2))
        partial.replace(entry / FEATURES)


def default_cache_folder() -> Path:
    """Return ``$TLKIT_CACHE``, or the user's cache folder for tlkit."""
    import platformdirs

    return Path(os.environ.get("TLKIT_CACHE") or platformdirs.user_cache_dir("tlkit"))


def free_bytes(folder: Path) -> int:
    """Return the free space of the disk that a folder is on, or will be on."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _npy_header(shape: tuple[int, ...], descr: str) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


def _describe(entry: Path) -> StoredFeatures | None:
    try:
        meta = json.loads((entry / META).read_text(encoding="utf-8"))
        complete = (entry / FEATURES).exists()
        stat = (entry / (FEATURES if complete else PARTIAL)).stat()
        return StoredFeatures(
            fingerprint=entry.name,
            backbone=str(meta["backbone"]),
            images=str(meta.get("images", "")),
            dtype=str(meta.get("dtype", "")),
            shape=tuple(meta["shape"]),
            bytes=stat.st_size,
            modified=stat.st_mtime,
            complete=complete,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
