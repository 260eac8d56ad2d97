"""Fitter: epochs of gradient steps, compiled, in an order that the seed alone decides."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from tlkit.errors import TrainingError
from tlkit.fused_adam import make_update
from tlkit.losses import Objective
from tlkit.out_of_memory import is_out_of_memory
from tlkit.records import Int64Array
from tlkit.replicas import Replicas, generator_states
from tlkit.training_examples import ExampleReader, Examples, choose_views, epoch_order
from tlkit.whole_batch_draws import Share, whole_batch_draws

LEAST_EVALUATION_BATCH = 256
Prepare = Callable[[Any, bool], Any]


class Fitter:
    """Trains and evaluates one model of logits with one optimizer.

    The batches of an epoch run in one compiled loop, which saves the dispatch of each from Python;
    the steps and their order are those of ``keras.Model.fit``. XLA is off: on a CPU it made these
    networks five to ten times slower.

    Attributes:
        random_state: The ``keras.Variable`` objects that MixUp and CutMix draw by.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        batch_size: int,
        objective: Objective | None = None,
        prepare: Prepare | None = None,
        replicas: Replicas | None = None,
        random_state: Sequence[Any] = (),
    ) -> None:
        """Prepare the compiled loops.

        Args:
            model: A ``keras.Model`` that gives logits (N, number of classes).
            optimizer: A ``keras.optimizers.Optimizer``.
            batch_size: Images in one step.
            objective: What to minimise; by default cross-entropy.
            prepare: Called while TensorFlow traces with a batch of inputs, float32, and whether it
                is for training; returns what the model takes. By default the inputs.
            replicas: Devices that share each batch; None for one device.
            random_state: The ``keras.Variable`` objects that ``prepare`` draws by.
        """
        self.model, self.optimizer, self.batch_size = model, optimizer, batch_size
        optimizer.build(model.trainable_variables)
        self._update = make_update(optimizer, model)
        self._objective = objective
        self._mix, self.random_state = (None, []) if objective is None else objective.mixing()
        self._prepare, self._part = prepare, batch_size
        self._evaluation_batch = max(batch_size, LEAST_EVALUATION_BATCH)
        self._replicas = replicas
        self._seeds = [*generator_states(model), *random_state]
        self._reader = ExampleReader(batch_size, replicas)
        self._loops: dict[tuple[Any, ...], Any] = {}

    def cut_batches(self, size: int) -> None:
        """Work on each batch in parts, one after another, to save memory.

        The step is that of the whole batch, but for what dropout draws.

        Args:
            size: Images in a part, 1 or more.
        """
        self._part = size
        self._loops = {key: loop for key, loop in self._loops.items() if not key[0]}

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
            ``loss`` (nats, regularisation included, as the objective has it) and ``accuracy`` (0 to
            1; of a mixed image, that of its larger part), means over the epoch as the weights
            moved.

        Raises:
            TrainingError: If the loss is not finite.
        """
        order = epoch_order(examples.rows, seed, epoch)
        order = choose_views(examples, order, seed, epoch)
        loss, accuracy = self._run(True, examples, order, progress)
        if not math.isfinite(loss):
            raise TrainingError(
                f"The training loss became {loss}. Lower the learning rate, or check the data for "
                f"broken images."
            )
        return {"loss": loss, "accuracy": accuracy}

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """Return ``loss`` (nats) and ``accuracy`` (0 to 1) in inference mode.

        Where memory runs out, smaller batches take over.
        """
        while True:
            try:
                loss, accuracy = self._run(False, examples, examples.rows, None)
                return {"loss": loss, "accuracy": accuracy}
            except Exception as err:
                alone = self._replicas is None or self._replicas.workers == 1
                if not (alone and is_out_of_memory(err)) or self._evaluation_batch == 1:
                    raise
            self._evaluation_batch = -(-self._evaluation_batch // 2)
            self._loops = {key: loop for key, loop in self._loops.items() if key[0]}

    def _run(
        self,
        training: bool,
        examples: Examples,
        order: Int64Array,
        progress: Callable[[int, float], None] | None,
    ) -> tuple[float, float]:
        begin = time.monotonic()
        loss_sum = correct = 0.0
        done = 0
        # What mixes images needs all of a batch.
        divided = not (training and self._mix is not None)
        batch = self._batch(training)
        with closing(self._reader.chunks(examples, order, batch, divided)) as chunks:
            for inputs, labels, rows in chunks:
                losses, right = self._loop(training, inputs)(inputs, labels, rows)
                loss_sum, correct = loss_sum + float(losses), correct + float(right)
                if training and not math.isfinite(loss_sum):
                    break
                done += len(rows)
                if progress is not None:
                    progress(done, time.monotonic() - begin)
        return float(np.float32(loss_sum / len(order))), correct / len(order)

    def _batch(self, training: bool) -> int:
        return self.batch_size if training else self._evaluation_batch

    def _loop(self, training: bool, inputs: Any) -> Any:
        """Return the compiled loop for inputs of one type and shape; their number may vary."""
        key = training, inputs.dtype, tuple(inputs.shape[1:])
        if key not in self._loops:
            step = self._train_step if training else self._evaluate_step
            self._loops[key] = self._compile(step, self._batch(training), training, inputs)
        return self._loops[key]

    def _compile(
        self,
        step: Callable[[Any, Any, Any], tuple[Any, Any, Any]],
        batch: int,
        training: bool,
        inputs: Any,
    ) -> Any:
        import tensorflow as tf

        # Without a signature TensorFlow would trace again for each number of rows; converting this
        # code with AutoGraph would take longer than an epoch on a small data set.
        @tf.function(
            input_signature=(
                tf.TensorSpec((None, *inputs.shape[1:]), inputs.dtype),
                tf.TensorSpec((None,), tf.int64),
                tf.TensorSpec((None,), tf.int64),
            ),
            autograph=False,
            jit_compile=False,
        )  # type: ignore[untyped-decorator]
        def loop(inputs: Any, labels: Any, rows: Any) -> tuple[Any, Any]:
            count = tf.size(rows)
            # Sums of float64 hardly depend on where an epoch is cut into chunks.
            zero = tf.constant(0.0, tf.float64)

            def body(first: Any, steps: Any, loss_sum: Any, correct: Any) -> tuple[Any, ...]:
                chosen = rows[first : first + batch]

                def read(chosen: Any) -> tuple[Any, Any]:
                    found = tf.cast(tf.gather(inputs, chosen), tf.float32)
                    return found, tf.gather(labels, chosen)

                if self._replicas is None:
                    steps, losses, right = step(steps, *read(chosen))
                elif training:
                    steps, losses, right = self._shared_train_step(steps, chosen, read)
                else:
                    losses, right = self._shared_evaluate_step(chosen, read)
                return first + batch, steps, loss_sum + losses, correct + right

            _, steps, loss_sum, correct = tf.while_loop(
                lambda first, *_: first < count, body, (0, self._update.begin(), zero, zero)
            )
            if training:
                self._update.end(steps)
            return loss_sum, correct

        return loop

    def _train_step(self, steps: Any, inputs: Any, labels: Any) -> tuple[Any, Any, Any]:
        inputs, targets = self._ready(inputs, labels)
        gradients, losses, right = self._gradients(inputs, targets, labels)
        return self._update.apply(steps, gradients), losses, right

    def _ready(self, inputs: Any, labels: Any) -> tuple[Any, Any]:
        """Return what the model takes, and what it is to give."""
        import tensorflow as tf

        if self._prepare is not None:
            inputs = self._prepare(inputs, True)
        targets = labels
        if self._objective is not None and not self._objective.plain:
            targets = tf.one_hot(labels, self._objective.num_classes)
            if self._mix is not None:
                inputs, targets = self._mix(inputs, targets)
        return inputs, targets

    def _shared_train_step(
        self, steps: Any, chosen: Any, read: Callable[[Any], tuple[Any, Any]]
    ) -> tuple[Any, Any, Any]:
        """Make the step of a whole batch of which each device computes a share.

        Args:
            steps: The number of steps taken so far.
            chosen: The rows of the batch, int64.
            read: From some of them to their inputs and labels.
        """
        import tensorflow as tf

        assert self._replicas is not None
        total = tf.size(chosen)
        mixed = None
        if self._mix is not None:
            inputs, labels = read(chosen)
            mixed = (*self._ready(inputs, labels), labels)
        seeds = [tf.identity(item.value) for item in self._seeds]
        known: list[bool] = []

        def compute(share: Share, weight: Any) -> Any:
            # Each device of a machine draws what the first one does.
            for variable, value in zip(self._seeds, seeds, strict=True):
                variable.assign(value)
            rows = slice(share.begin, share.end)
            with whole_batch_draws(self.model, share):
                if mixed is not None:
                    inputs, targets, labels = (item[rows] for item in mixed)
                else:
                    inputs, labels = read(chosen[rows])
                    inputs, targets = self._ready(inputs, labels)
                gradients, losses, right = self._gradients(inputs, targets, labels, total, weight)
            known[:] = [gradient is not None for gradient in gradients]
            parts = [tf.convert_to_tensor(item) for item in gradients if item is not None]
            scores = [tf.cast(item, tf.float32) * weight for item in (losses, right)]
            # One sum over the devices for each step: many small ones would wait for each other.
            return tf.concat([tf.reshape(item, [-1]) for item in (*scores, *parts)], axis=0)

        summed = self._replicas.sum(compute, total)
        used = [item for item, has in zip(self._update.trained, known, strict=True) if has]
        sizes = [int(np.prod(item.shape)) for item in used]
        losses, right, *flat = tf.split(summed, [1, 1, *sizes])
        shaped = iter([tf.reshape(part, item.shape) for part, item in zip(flat, used, strict=True)])
        gradients = [next(shaped) if has else None for has in known]
        scores = [tf.cast(item[0], tf.float64) for item in (losses, right)]
        return self._update.apply(steps, gradients), *scores

    def _shared_evaluate_step(
        self, chosen: Any, read: Callable[[Any], tuple[Any, Any]]
    ) -> tuple[Any, Any]:
        import tensorflow as tf

        assert self._replicas is not None

        def compute(share: Share, weight: Any) -> Any:
            _, losses, right = self._evaluate_step(None, *read(chosen[share.begin : share.end]))
            return tf.stack([losses, right]) * tf.cast(weight, tf.float64)

        losses, right = tf.unstack(self._replicas.sum(compute, tf.size(chosen)))
        return losses, right

    def _gradients(
        self, inputs: Any, targets: Any, labels: Any, total: Any = None, weight: Any = 1.0
    ) -> tuple[Any, Any, Any]:
        """Return the gradients of the mean loss, the sum of the losses and the right answers.

        The mean is that over ``total`` images, of which these are some; they count ``weight`` each.
        """
        import tensorflow as tf

        count = tf.shape(inputs)[0]
        images = tf.cast(count if total is None else total, tf.float32)

        def part(inputs: Any, targets: Any, labels: Any) -> tuple[list[Any], Any, Any]:
            with tf.GradientTape() as tape, self._update.in_place():
                logits = tf.cast(self.model(inputs, training=True), tf.float32)
                losses = self._losses(targets, logits)
                if self.model.losses:
                    losses += tf.add_n(self.model.losses)
                mean = tf.reduce_sum(losses) * weight / images
            found = tape.gradient(mean, self._update.trained)
            true = labels if targets is labels else tf.argmax(targets, axis=-1)
            return found, *_score(true, logits, losses)

        if self._part >= self.batch_size:
            return part(inputs, targets, labels)
        known: list[bool] = []

        def body(first: Any, sums: Any, losses: Any, right: Any) -> tuple[Any, ...]:
            rows = slice(first, tf.minimum(first + self._part, count))
            true = labels[rows]
            wanted = true if targets is labels else targets[rows]
            found, more, more_right = part(inputs[rows], wanted, true)
            known[:] = [gradient is not None for gradient in found]
            added = [
                total if gradient is None else total + tf.convert_to_tensor(gradient)
                for total, gradient in zip(sums, found, strict=True)
            ]
            return first + self._part, added, losses + more, right + more_right

        zero = tf.constant(0.0, tf.float64)
        zeros = [tf.zeros_like(variable) for variable in self._update.trained]
        _, sums, losses, right = tf.while_loop(
            lambda first, *_: first < count, body, (0, zeros, zero, zero)
        )
        gradients = [total if used else None for total, used in zip(sums, known, strict=True)]
        return gradients, losses, right

    def _losses(self, targets: Any, logits: Any) -> Any:
        import tensorflow as tf

        if self._objective is None or self._objective.plain:
            return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        return self._objective.losses(targets, logits)

    def _evaluate_step(self, steps: Any, inputs: Any, labels: Any) -> tuple[Any, Any, Any]:
        import tensorflow as tf

        if self._prepare is not None:
            inputs = self._prepare(inputs, False)
        logits = tf.cast(self.model(inputs, training=False), tf.float32)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return steps, *_score(labels, logits, losses)


def _score(labels: Any, logits: Any, losses: Any) -> tuple[Any, Any]:
    import tensorflow as tf

    right = tf.cast(tf.argmax(logits, axis=-1) == labels, tf.float32)
    return tuple(tf.cast(tf.reduce_sum(values), tf.float64) for values in (losses, right))
