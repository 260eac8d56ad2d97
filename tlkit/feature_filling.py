"""Filling: one entry of the feature store made whole, from a shared location or by computing."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tlkit.checked_json import read_checked_json, write_checked_json
from tlkit.errors import DataError, PluginError, TlkitError
from tlkit.shards import ShardedArray, neighbours
from tlkit.shared_shards import MARKS, SHARDS, SharedShards, in_threads
from tlkit.wording import plural

FEATURES, PARTIAL, META = "features.npy", "features.partial", "meta.json"
DIGESTS = "shards.sha256"
TYPES = {"float32": "<f4", "float16": "<f2"}
UPLOADS = 4
# Shards that other processes wrote and nobody can read are asked for so often.
MOST_TRIES = 3

FeatureType = Literal["float32", "float16"]
Progress = Callable[[int, int, float, int], None]
Warn = Callable[[str], None]
Features = NDArray[np.floating[Any]]
ComputeElsewhere = Callable[[SharedShards, ShardedArray, Sequence[int]], Generator[tuple[int, str]]]


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
        compute_elsewhere: Where other processes do the work: called with where they are to write
            shards, how these lie in the array, and their numbers; yields (number, name) of each
            shard that was written, in any order. None where ``compute`` does it.
    """

    fingerprint: str
    shape: tuple[int, ...]
    backbone: str
    compute: Callable[[int], Generator[Any]]
    dtype: FeatureType = "float32"
    images: str = ""
    origin: str = ""
    compute_elsewhere: ComputeElsewhere | None = None

    @property
    def who(self) -> str:
        """The beginning of a sentence on what the backbone did wrong."""
        return f"Backbone '{self.backbone}'{f' of {self.origin}' if self.origin else ''}"


def sharded(path: Path, shape: tuple[int, ...], descr: str) -> ShardedArray:
    """Return the array of an entry: a file, with its digests beside it."""
    return ShardedArray(path, path.with_name(DIGESTS), shape, descr)


def description_of(wanted: Wanted) -> dict[str, Any]:
    """Return what an entry is, for listings."""
    return {
        "backbone": wanted.backbone,
        "images": wanted.images,
        "dtype": wanted.dtype,
        "shape": list(wanted.shape),
    }


class Filling:
    """One entry that is made whole, while this process holds its lock."""

    def __init__(
        self,
        entry: Path,
        wanted: Wanted,
        shared: SharedShards | None = None,
        progress: Progress | None = None,
        warn: Warn | None = None,
    ) -> None:
        """Set what to fill.

        Args:
            entry: The folder of the entry.
            wanted: What is to be in it.
            shared: The same entry at a location that other machines use; None for none.
            progress: As of ``FeatureStore.get()``.
            warn: As of ``FeatureStore.get()``.
        """
        self._entry, self._wanted, self._shared = entry, wanted, shared
        self._progress, self._warn = progress, warn
        self._done = 0
        self._broken: list[str] = []
        self._problem: TlkitError | None = None

    def run(self) -> int:
        """Fill in every shard that is missing or damaged; return how many images were computed.

        Another process may have done so meanwhile.

        Raises:
            OSError: If the folder cannot be written.
            DataError, ObjectStoreError: If the shared location cannot be read.
            PluginError: If the backbone gives values that are not finite.
        """
        finished = (self._entry / FEATURES).exists()
        if not finished:
            write_checked_json(self._entry / META, description_of(self._wanted))
        array = self._array(FEATURES if finished else PARTIAL)
        damaged, missing = array.damaged(), array.missing()
        without_digests = not array.digests.exists()
        whole = sorted(set(range(array.num_shards)) - set(damaged))
        # Whatever follows the last shard is no part of it.
        array.keep_first(array.num_shards if finished else whole[-1] + 1 if whole else 0)
        self._done = _rows(array, whole)
        if self._done and damaged:
            self._tell(self._done, 0.0, self._done)
        todo = self._fetch(array, damaged)
        computed = _rows(array, todo)
        if todo:
            seconds = self._compute(array, todo) * self._wanted.shape[0] / computed
            if not finished:
                known = {**description_of(self._wanted), "seconds": seconds}
                write_checked_json(self._entry / META, known)
        elif not finished and self._shared is not None:
            told = (self._shared.description() or {}).get("seconds")
            known = {**description_of(self._wanted), "seconds": told}
            write_checked_json(self._entry / META, known)
        if damaged:
            array.sync()
        if finished and damaged:
            self._tell_of_damage(array, damaged, missing, without_digests)
        if not finished:
            array.path.replace(self._entry / FEATURES)
        self.share(changed=bool(todo))
        # Where others wrote shards for this process alone, they are in the array now.
        for name in (SHARDS, MARKS):
            shutil.rmtree(self._entry / name, ignore_errors=True)
        return computed

    def share(self, *, changed: bool = False) -> None:
        """Copy to the shared location what that lacks; the entry is whole.

        What goes wrong there is told in one line, since the features are here all the same.

        Args:
            changed: Whether it may lack something although it was whole once.
        """
        if self._shared is None:
            return
        array = self._array(FEATURES)
        try:
            if self._shared.description() is not None and not changed and not self._broken:
                return
            for name in self._broken:
                self._shared.remove(name)
            there = self._shared.listing()
            lacking = [shard for shard in range(array.num_shards) if shard not in there]
            for _ in in_threads(lambda shard: self._upload(array, shard), lacking):
                pass
            self._shared.describe(
                read_checked_json(self._entry / META) or description_of(self._wanted)
            )
        except TlkitError as err:
            self._problem = self._problem or err
        if self._problem is not None and self._warn is not None:
            self._warn(
                f"Features of {self._wanted.images or 'images'} were not shared: {self._problem} "
                f"The next run that needs them tries again."
            )

    def _array(self, name: str) -> ShardedArray:
        return sharded(self._entry / name, self._wanted.shape, TYPES[self._wanted.dtype])

    def _tell(self, done: int, seconds: float, kept: int) -> None:
        if self._progress is not None:
            self._progress(done, self._wanted.shape[0], seconds, kept)

    def _fetch(self, array: ShardedArray, todo: Sequence[int]) -> list[int]:
        """Copy the shards that are whole elsewhere; return the others."""
        place = self._place()
        if place is None or not todo:
            return list(todo)
        there = place.listing()

        def read(shard: int) -> Any:
            for name in there[shard]:
                rows = place.read(name, _shape(array, shard), array.descr)
                if rows is not None:
                    return rows
                self._broken.append(name)
            return None

        left = set(todo)
        for shard, rows in in_threads(read, [shard for shard in todo if shard in there]):
            if rows is not None:
                self._put(array, shard, rows)
                self._tell(self._done, 0.0, self._done)
                left.discard(shard)
        if self._broken and self._warn is not None:
            number = len(self._broken)
            said = "shard was" if number == 1 else "shards were"
            self._warn(
                f"Of the features of {self._wanted.images or 'images'} in {place}, "
                f"{number} {said} damaged and replaced."
            )
        return sorted(left)

    def _place(self) -> SharedShards | None:
        """Return where other processes read and write shards of this entry."""
        if self._shared is None and self._wanted.compute_elsewhere is not None:
            return SharedShards(str(self._entry.parent.absolute()), self._entry.name)
        return self._shared

    def _put(self, array: ShardedArray, shard: int, rows: Any) -> None:
        for _ in array.fill(range(shard, shard + 1), [rows], lasting=False):
            pass
        self._done += len(rows)

    def _compute(self, array: ShardedArray, todo: Sequence[int]) -> float:
        """Compute shards, here or elsewhere; return how many seconds that took."""
        begin = time.monotonic()
        if self._wanted.compute_elsewhere is None:
            self._compute_here(array, todo, begin)
        else:
            self._compute_elsewhere(array, todo, begin)
        return time.monotonic() - begin

    def _compute_here(self, array: ShardedArray, todo: Sequence[int], begin: float) -> None:
        with ThreadPoolExecutor(UPLOADS) as pool:
            uploads: list[Future[None]] = []
            try:
                for shards in neighbours(todo):
                    place, shared = array.rows(shards), shards.start
                    for row in _fill(array, shards, self._wanted):
                        whole = array.whole_rows(row)
                        if self._progress is not None:
                            self._tell(
                                self._done + row - place.start,
                                time.monotonic() - begin,
                                self._done + whole - place.start,
                            )
                        while (
                            self._shared is not None
                            and shared < shards.stop
                            and array.rows(range(shared + 1)).stop <= whole
                        ):
                            uploads.append(pool.submit(self._try_to_upload, array, shared))
                            shared += 1
                    self._done += len(place)
            except BaseException:
                for upload in uploads:
                    upload.cancel()
                raise

    def _try_to_upload(self, array: ShardedArray, shard: int) -> None:
        if self._shared is None or self._problem is not None:
            return
        try:
            self._upload(array, shard)
        except TlkitError as err:
            self._problem = err

    def _upload(self, array: ShardedArray, shard: int) -> None:
        assert self._shared is not None
        self._shared.write(shard, array.read(shard))

    def _compute_elsewhere(self, array: ShardedArray, todo: Sequence[int], begin: float) -> None:
        compute, place = self._wanted.compute_elsewhere, self._place()
        assert compute is not None
        assert place is not None

        def read(written: tuple[int, str]) -> Any:
            shard, name = written
            return place.read(name, _shape(array, shard), array.descr)

        left = set(todo)
        for _ in range(MOST_TRIES):
            before = len(left)
            with closing(compute(place, array, sorted(left))) as found:
                for (shard, name), rows in in_threads(read, found):
                    if rows is None and len(left) == len(todo):
                        raise DataError(
                            f"What workers write cannot be read here: {name} in {place}. Do all "
                            f"machines reach that place? Give one that they do: [features] store."
                        )
                    if rows is not None and shard in left:
                        self._put(array, shard, rows)
                        self._tell(self._done, time.monotonic() - begin, self._done)
                        left.discard(shard)
            if not left or len(left) == before:
                break
        if left:
            raise DataError(
                f"Of the features of {self._wanted.images or 'images'}, "
                f"{plural(len(left), 'shard')} of {array.num_shards} were not computed by the "
                f"workers, or cannot be read in {place}. The others are kept; run it again."
            )

    def _tell_of_damage(
        self, array: ShardedArray, damaged: list[int], missing: list[int], without_digests: bool
    ) -> None:
        if self._warn is None:
            return
        places = [array.rows(shards) for shards in neighbours(damaged)]
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
        again = "computed again" if self._shared is None else "fetched or computed again"
        self._warn(
            f"Stored features of {self._wanted.images or 'images'} ({self._wanted.backbone}): of "
            f"{plural(array.num_shards, 'shard')} {' and '.join(counts)}. Those of images "
            f"{rows}{more} were {again}.{why}{ask}"
        )


def checked_features(batch: Any, first: int, wanted: Wanted) -> Any:
    """Return a batch of features in the type to store.

    Args:
        batch: Features (n, ...).
        first: The number of its first image.
        wanted: What they are to be.

    Raises:
        PluginError: If they have another shape, or are not finite.
    """
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
    return features


def _fill(array: ShardedArray, shards: range, wanted: Wanted) -> Iterator[int]:
    """Compute and write some shards; yield after each batch the row that is next."""
    rows = array.rows(shards)
    done = rows.start
    if not rows:
        return
    with closing(_checked(wanted, rows.start)) as batches:
        for done in array.fill(shards, batches):
            yield done
    if done != rows.stop:
        raise PluginError(
            f"{wanted.who} gave features of {done} images instead of {wanted.shape[0]}."
        )


def _checked(wanted: Wanted, first: int) -> Generator[Any]:
    with closing(wanted.compute(first)) as batches:
        for batch in batches:
            features = checked_features(batch, first, wanted)
            first += len(features)
            yield features


def _rows(array: ShardedArray, shards: Sequence[int]) -> int:
    return sum(len(array.rows(range(shard, shard + 1))) for shard in shards)


def _shape(array: ShardedArray, shard: int) -> tuple[int, ...]:
    return (len(array.rows(range(shard, shard + 1))), *array.shape[1:])
