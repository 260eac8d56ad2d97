"""Extraction: images through the frozen part of a model, with all cores busy."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tlkit.engine import Forward
from tlkit.errors import EngineError
from tlkit.out_of_memory import in_halves
from tlkit.records import Float32Array, ImageSequence, Int64Array
from tlkit.resizing import Resizer, stack_resized
from tlkit.rows import release_pages, take_rows
from tlkit.runtime import number_of_cores

MAX_WORKERS = 8
# The probe may use at most this share of the images.
PROBE_SHARE = 0.25


def number_of_workers() -> int:
    """Return how many threads work on images: one for each processor, 2 to 8."""
    return min(max(2, number_of_cores()), MAX_WORKERS)


def guess_batch_size(image_size: int) -> int:
    """Return a power of two whose activations fit the processor's caches, 8 to 256."""
    return int(2 ** np.clip(np.floor(np.log2(256 * 64**2 / image_size**2)), 3, 8))


@dataclass
class Profile:
    """Where the time of an extraction went.

    Attributes:
        batch_size: Images in a batch, as the probe found it, or the guess where there are too few
            images to probe.
        images_per_second: What the probe measured for each batch size that it tried.
        seconds: Seconds of work in all threads together, by stage: ``read`` (decoding pictures),
            ``resize``, ``forward``.
        largest_batch: The size that batches were cut to because memory ran out; 0 if it did not.
    """

    batch_size: int = 0
    images_per_second: dict[int, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(
        default_factory=lambda: {"read": 0.0, "resize": 0.0, "forward": 0.0}
    )
    largest_batch: int = 0


class Pipeline:
    """Reads, resizes and runs batches in several threads; gives them back in order.

    Each thread takes a batch all the way, so that one decodes while another computes, and no batch
    waits in a queue. Pillow, TensorFlow and the engines work outside Python's global lock.
    """

    def __init__(
        self, forward: Forward, resize: Resizer, image_size: int, batch_size: int = 0
    ) -> None:
        """Set what to run.

        Args:
            forward: From pixels to features; what an engine compiled. It gets no pixels, (0, size,
                size, 3), where all images of a batch are left out.
            resize: What ``make_resizer()`` returned.
            image_size: The backbone's input size, in pixels.
            batch_size: Images in a batch; 0 for the fastest, found by a probe.
        """
        self._image_size = image_size
        self._forward, self._resize = forward, resize
        self._guess = guess_batch_size(image_size)
        self._workers = number_of_workers()
        self._lock = threading.Lock()
        self.profile = Profile(batch_size)

    def run(self, images: ImageSequence, start: int = 0) -> Generator[Float32Array]:
        """Yield the features of images, in order.

        Args:
            images: uint8 array (N, height, width, 3), or a lazy sequence; where it gives None, that
                image is left out.
            start: The first image.

        Yields:
            float32 arrays (batch, *shape of one image's features).
        """
        total = len(images)
        with ThreadPoolExecutor(self._workers) as pool:
            size = self.profile.batch_size
            if not size:
                sizes = self._sizes_to_probe(total - start)
                for size in sizes if len(sizes) > 1 else ():
                    warm = min(total, start + size * self._workers)
                    yield from self._ordered(pool, images, start, warm, size)
                    stop = min(total, warm + 2 * size * self._workers)
                    begin = time.monotonic()
                    yield from self._ordered(pool, images, warm, stop, size)
                    self.profile.images_per_second[size] = (stop - warm) / (
                        time.monotonic() - begin
                    )
                    start = stop
                measured = self.profile.images_per_second
                size = max(measured, key=lambda item: measured[item]) if measured else self._guess
                self.profile.batch_size = size
            yield from self._ordered(pool, images, start, total, size)

    def take_profile(self) -> Profile:
        """Return where the time went since the last call; the batch size found stays."""
        profile = self.profile
        self.profile = Profile(batch_size=profile.batch_size, largest_batch=profile.largest_batch)
        return profile

    def _sizes_to_probe(self, count: int) -> list[int]:
        sizes = [max(8, self._guess // 2), self._guess, self._guess * 2]
        used = 3 * self._workers * sum(sizes)
        return sizes if used <= PROBE_SHARE * count else [self._guess]

    def _ordered(
        self, pool: ThreadPoolExecutor, images: ImageSequence, start: int, stop: int, size: int
    ) -> Iterator[Float32Array]:
        pending: deque[Future[Float32Array]] = deque()
        try:
            for first in range(start, stop, size):
                pending.append(pool.submit(self._batch, images, first, min(stop, first + size)))
                # One batch more than threads, so that none waits for the caller.
                if len(pending) > self._workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def _batch(self, images: ImageSequence, first: int, last: int) -> Float32Array:
        def run(rows: range) -> Float32Array:
            return self._rows(images, rows.start, rows.stop)

        size = self.profile.largest_batch or last - first
        parts = [range(row, min(last, row + size)) for row in range(first, last, size)]
        features = [in_halves(run, part, self._step_down) for part in parts]
        return features[0] if len(features) == 1 else np.concatenate(features)

    def _step_down(self, size: int) -> None:
        with self._lock:
            self.profile.largest_batch = min(size, self.profile.largest_batch or size)

    def _rows(self, images: ImageSequence, first: int, last: int) -> Float32Array:
        begin = time.monotonic()
        pixels = read(images, first, last)
        read_at = time.monotonic()
        if len(pixels):
            pixels = stack_resized(pixels, self._resize)
        else:
            pixels = np.empty((0, self._image_size, self._image_size, 3), np.uint8)
        resized_at = time.monotonic()
        features = self._forward(pixels)
        end = time.monotonic()
        if len(features) != len(pixels):
            raise EngineError(
                f"The engine gave {len(features)} features for a batch of {len(pixels)} images; "
                f"it must give one for each. Set [engine] name = 'tensorflow'."
            )
        release_pages(images)
        with self._lock:
            seconds = self.profile.seconds
            seconds["read"] += read_at - begin
            seconds["resize"] += resized_at - read_at
            seconds["forward"] += end - resized_at
        return features


def read(images: ImageSequence, first: int, last: int) -> Any:
    """Return images first to last - 1: a view of an array, or a list of pictures, None left out."""
    if isinstance(images, np.ndarray):
        return images[first:last]
    pictures = (images[row] for row in range(first, last))
    return [picture for picture in pictures if picture is not None]


def resized_batches(
    images: ImageSequence, rows: Int64Array, resize: Callable[[Any], Any], batch_size: int
) -> Iterator[Any]:
    """Yield some images, resized, batch by batch; the next is read while the caller works on one.

    Args:
        images: uint8 array (N, height, width, 3), or a lazy sequence.
        rows: int64 array of indices, 1 or more; no other image is read.
        resize: What ``make_resizer()`` returned.
        batch_size: Images in a batch.
    """

    def load(first: int) -> Any:
        return stack_resized(take_rows(images, rows[first : first + batch_size]), resize)

    with ThreadPoolExecutor(max_workers=1) as pool:
        pending = pool.submit(load, 0)
        for first in range(batch_size, len(rows), batch_size):
            current, pending = pending.result(), pool.submit(load, first)
            yield current
        yield pending.result()
