"""Examples: what a model is trained on, the order of an epoch, and its reading in chunks."""

from __future__ import annotations

import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkit.records import ImageSequence, Int64Array
from tlkit.replicas import Replicas
from tlkit.resizing import Resizer, stack_resized
from tlkit.rows import Stacked, share_with_tensorflow, take_rows

PROGRESS_SECONDS = 0.25
# Arrays up to this size are held as one tensor; larger ones are read in chunks, so that memory
# stays bounded whatever their size.
MAX_HELD_BYTES = 2**30
CHUNK_BYTES = 2**25

Chunks = Generator[tuple[Any, Any, Any], None, None]


@dataclass(frozen=True)
class Examples:
    """Inputs and labels, and which rows of them to use.

    Attributes:
        inputs: Features (N, ...), pixels (N, height, width, 3), a lazy sequence of pictures, or
            the stacked features of several views, each (N, ...).
        labels: int64 array (N,).
        rows: int64 array of indices into both; a subset such as the validation split.
        resize: What ``make_resizer()`` returned; needed where ``inputs`` is lazy.
    """

    inputs: ImageSequence | Stacked
    labels: Int64Array
    rows: Int64Array
    resize: Resizer | None = None

    @property
    def views(self) -> int:
        """The number of views of each image among the inputs."""
        return len(self.inputs.arrays) if isinstance(self.inputs, Stacked) else 1


def epoch_order(rows: Int64Array, seed: int, epoch: int) -> Int64Array:
    """Return the order in which an epoch visits the rows; any epoch's order stands on its own."""
    return np.random.default_rng([seed, epoch]).permutation(rows)


def choose_views(examples: Examples, order: Int64Array, seed: int, epoch: int) -> Int64Array:
    """Return rows of the stacked views: for each image of an epoch one view, drawn at random."""
    if examples.views == 1:
        return order
    drawn = np.random.default_rng([seed, epoch, 1]).integers(examples.views, size=len(order))
    return order + len(examples.labels) * drawn


class ExampleReader:
    """Hands examples to TensorFlow in chunks of whole batches.

    What memory holds is made a tensor once; larger inputs are read while the chunk before them is
    used.
    """

    def __init__(self, batch_size: int, replicas: Replicas | None = None) -> None:
        """Read nothing yet.

        Args:
            batch_size: Images in one step of training.
            replicas: Devices that share each batch; None for one device.
        """
        self._batch_size, self._replicas = batch_size, replicas
        self._tensors: dict[int, tuple[Any, Any, Any]] = {}

    def chunks(self, examples: Examples, order: Int64Array, batch: int, divided: bool) -> Chunks:
        """Yield inputs, labels, and the rows of both that are next; int64 and in the given order.

        Args:
            examples: What to read.
            order: Rows of them, those of stacked views counted on.
            batch: Images in one batch.
            divided: Whether each machine needs its own share of a batch only.
        """
        held = isinstance(examples.inputs, np.ndarray) and examples.inputs.nbytes <= MAX_HELD_BYTES
        if held:
            return self._held(examples, order)
        return self._streamed(examples, order, batch, divided)

    def _held(self, examples: Examples, order: Int64Array) -> Chunks:
        """Yield the same two tensors each time, and the rows of them that are next."""
        import tensorflow as tf

        key = id(examples.inputs)
        if key not in self._tensors:
            with tf.device("CPU"):
                # The array is kept too, so that its id stays taken.
                self._tensors[key] = (
                    share_with_tensorflow(examples.inputs),
                    tf.constant(examples.labels, tf.int64),
                    examples.inputs,
                )
        inputs, labels, _ = self._tensors[key]
        done, chunk = 0, self._batch_size * 16
        while done < len(order):
            begin = time.monotonic()
            rows = order[done : done + chunk]
            yield inputs, labels, tf.constant(rows, tf.int64)
            done += len(rows)
            if self._replicas is not None:
                continue  # workers of other speeds must make the same steps
            # Long enough to hide the dispatch, short enough for a live display.
            spent = max(time.monotonic() - begin, 1e-6)
            target = int(min(len(rows) * PROGRESS_SECONDS / spent, self._batch_size * 4096))
            chunk = self._batch_size * max(1, target // self._batch_size)

    def _streamed(self, examples: Examples, order: Int64Array, batch: int, divided: bool) -> Chunks:
        """Yield chunks of whole batches, each read while the one before it is used."""
        import tensorflow as tf

        partly = self._replicas is not None and divided

        def load(rows: Int64Array) -> tuple[Any, Any, Any]:
            numbers = tf.range(len(rows), dtype=tf.int64)
            if partly:
                assert self._replicas is not None
                own = self._replicas.own_rows(len(rows), batch)
                # Rows of others are never looked up.
                numbers = tf.constant(np.where(own, np.cumsum(own) - 1, 0), tf.int64)
                rows = rows[own]
            inputs = take_rows(examples.inputs, rows)
            if isinstance(inputs, list):
                assert examples.resize is not None
                inputs = stack_resized(inputs, examples.resize)
            return (
                tf.convert_to_tensor(inputs),
                tf.constant(examples.labels[rows % len(examples.labels)], tf.int64),
                numbers,
            )

        sample = take_rows(examples.inputs, order[:1])
        # Pictures are decoded: a chunk of one batch keeps the display alive.
        batches = (
            1 if isinstance(sample, list) else CHUNK_BYTES // (sample.nbytes * self._batch_size)
        )
        chunk = self._batch_size * max(1, batches)
        parts = [order[first : first + chunk] for first in range(0, len(order), chunk)]
        with ThreadPoolExecutor(max_workers=1) as pool:
            pending = pool.submit(load, parts[0])
            for following in (*parts[1:], None):
                current = pending.result()
                if following is not None:
                    pending = pool.submit(load, following)
                yield current
