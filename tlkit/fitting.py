"""Fitting: epochs of gradient steps, compiled, in an order that the seed alone decides."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkit.errors import TrainingError
from tlkit.features import stack_resized
from tlkit.records import ImageSequence, Int64Array

PROGRESS_SECONDS = 0.25
LEAST_EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Examples:
    """Inputs and labels, and which rows of them to use.

    Attributes:
        inputs: Features (N, ...), pixels (N, height, width, 3), or a lazy sequence of pictures.
        labels: int64 array (N,).
        rows: int64 array of indices into both; a subset such as the validation split.
        resize: The model's resize layer, needed where ``inputs`` is lazy.
    """

    inputs: ImageSequence
    labels: Int64Array
    rows: Int64Array
    resize: Any = None


def epoch_order(rows: Int64Array, seed: int, epoch: int) -> Int64Array:
    """Return the order in which an epoch visits the rows; any epoch's order stands on its own."""
    return np.random.default_rng([seed, epoch]).permutation(rows)


class Fitter:
    """Trains and evaluates one model of logits with one optimizer.

    The batches of an epoch run in one compiled loop, which saves the dispatch of each from Python;
    the steps and their order are those of ``keras.Model.fit``. XLA is off: on a CPU it made these
    networks five to ten times slower.
    """

    def __init__(self, model: Any, optimizer: Any, batch_size: int) -> None:
        """Prepare the compiled loops.

        Args:
            model: A ``keras.Model`` that gives logits (N, number of classes).
            optimizer: A ``keras.optimizers.Optimizer``.
            batch_size: Images in one step.
        """
        import keras

        self.model, self.optimizer, self.batch_size = model, optimizer, batch_size
        self._loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=None)
        optimizer.build(model.trainable_variables)
        self._tensors: dict[int, tuple[Any, Any, Any]] = {}
        self._train_loop, self._evaluate_loop = self._compile()

    def train_epoch(
        self,
        examples: Examples,
        seed: int,
        epoch: int,
        progress: Callable[[int, float], None] | None = None,
    ) -> dict[str, float]:
        """Visit every row once.

        Args:
            examples: What to train on.
            seed: Seed of the order.
            epoch: Number of the epoch, from 1.
            progress: Called now and then with (rows done, seconds).

        Returns:
            ``loss`` (nats, regularisation included) and ``accuracy`` (0 to 1), means over the
            epoch as the weights moved.

        Raises:
            TrainingError: If the loss is not finite.
        """
        order = epoch_order(examples.rows, seed, epoch)
        loss, accuracy = self._run(self._train_loop, examples, order, progress)
        if not math.isfinite(loss):
            raise TrainingError(
                f"The training loss became {loss} in epoch {epoch}. Lower the learning rate, or "
                f"check the data for broken images."
            )
        return {"loss": loss, "accuracy": accuracy}

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """Return ``loss`` (nats) and ``accuracy`` (0 to 1) in inference mode."""
        loss, accuracy = self._run(self._evaluate_loop, examples, examples.rows, None)
        return {"loss": loss, "accuracy": accuracy}

    def _run(
        self,
        loop: Any,
        examples: Examples,
        order: Int64Array,
        progress: Callable[[int, float], None] | None,
    ) -> tuple[float, float]:
        begin = time.monotonic()
        lazy = not isinstance(examples.inputs, np.ndarray)
        chunk = self.batch_size if lazy else self.batch_size * 16
        loss_sum = correct = 0.0
        done = 0
        while done < len(order):
            rows = order[done : done + chunk]
            chunk_begin = time.monotonic()
            losses, right = loop(*self._load(examples, rows))
            loss_sum, correct = loss_sum + float(losses), correct + float(right)
            done += len(rows)
            if not lazy:
                # Long enough to hide the dispatch, short enough for a live display.
                spent = max(time.monotonic() - chunk_begin, 1e-6)
                target = len(rows) * PROGRESS_SECONDS / spent
                limit = self.batch_size * 4096
                steps = int(np.clip(target, self.batch_size, limit)) // self.batch_size
                chunk = self.batch_size * max(1, steps)
            if progress is not None:
                progress(done, time.monotonic() - begin)
        return loss_sum / len(order), correct / len(order)

    def _load(self, examples: Examples, rows: Int64Array) -> tuple[Any, Any, Any]:
        import tensorflow as tf

        if not isinstance(examples.inputs, np.ndarray):
            images = [examples.inputs[int(row)] for row in rows]
            labels = tf.constant(examples.labels[rows])
            return (
                stack_resized(images, examples.resize),
                labels,
                tf.range(len(rows), dtype="int64"),
            )
        key = id(examples.inputs)
        if key not in self._tensors:
            with tf.device("CPU"):
                # The array is kept too, so that its id stays taken.
                self._tensors[key] = (
                    tf.convert_to_tensor(examples.inputs),
                    tf.constant(examples.labels),
                    examples.inputs,
                )
        inputs, labels, _ = self._tensors[key]
        return inputs, labels, tf.constant(rows)

    def _compile(self) -> tuple[Any, Any]:
        import tensorflow as tf

        def score(labels: Any, logits: Any, losses: Any) -> tuple[Any, Any]:
            right = tf.cast(tf.argmax(logits, axis=-1) == labels, tf.float32)
            return tf.reduce_sum(losses), tf.reduce_sum(right)

        def train_step(inputs: Any, labels: Any) -> tuple[Any, Any]:
            with tf.GradientTape() as tape:
                logits = self.model(inputs, training=True)
                losses = self._loss(labels, logits)
                extra = tf.add_n(self.model.losses) if self.model.losses else 0.0
                total = tf.reduce_mean(losses) + extra
            variables = [weight.value for weight in self.model.trainable_variables]
            self.optimizer.apply(tape.gradient(total, variables), self.model.trainable_variables)
            return score(labels, logits, losses + extra)

        def evaluate_step(inputs: Any, labels: Any) -> tuple[Any, Any]:
            logits = self.model(inputs, training=False)
            return score(labels, logits, self._loss(labels, logits))

        def loop_over(step: Callable[[Any, Any], tuple[Any, Any]], batch: int) -> Any:
            @tf.function(reduce_retracing=True, jit_compile=False)  # type: ignore[untyped-decorator]
            def loop(inputs: Any, labels: Any, rows: Any) -> tuple[Any, Any]:
                loss_sum, correct = tf.constant(0.0), tf.constant(0.0)
                for first in tf.range(0, tf.size(rows), batch):
                    chosen = rows[first : first + batch]
                    pixels = tf.cast(tf.gather(inputs, chosen), tf.float32)
                    losses, right = step(pixels, tf.gather(labels, chosen))
                    loss_sum, correct = loss_sum + losses, correct + right
                return loss_sum, correct

            return loop

        evaluation_batch = max(self.batch_size, LEAST_EVALUATION_BATCH)
        return (
            loop_over(train_step, self.batch_size),
            loop_over(evaluate_step, evaluation_batch),
        )
