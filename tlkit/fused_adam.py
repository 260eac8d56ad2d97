"""Adam's update as one TensorFlow kernel for each variable, where it gives Keras' own numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, Protocol

from tlkit.split_kernel import SplitKernel, number_of_parts, splittable_layers


class Update(Protocol):
    """How a compiled loop applies an optimizer; all calls happen while TensorFlow traces.

    Attributes:
        trained: The ``tf.Variable`` objects to differentiate by.
    """

    trained: list[Any]

    def begin(self) -> Any:
        """Return the number of steps taken so far: an int64 scalar, carried through the loop."""

    def in_place(self) -> AbstractContextManager[Any]:
        """Return a context in which the model computes with the variables in ``trained``."""

    def apply(self, steps: Any, gradients: Sequence[Any]) -> Any:
        """Move the variables one step; return the new number of steps."""

    def end(self, steps: Any) -> None:
        """Write the number of steps back."""


def make_update(optimizer: Any, model: Any) -> Update:
    """Return the fastest way to apply an optimizer that changes none of its numbers.

    Keras writes Adam as a dozen operations on each variable. ``ResourceApplyAdam`` computes the
    same formula (Kingma and Ba 2015, algorithm 1 with the order of computation of its section 2)
    in one, which halves the time of an epoch on stored features. Large kernels of dense layers are
    trained in parts where that is faster; see ``tlkit.split_kernel``.

    Args:
        optimizer: A ``keras.optimizers.Optimizer``, built with the model's trainable variables.
        model: The ``keras.Model`` that it trains.
    """
    variables = model.trainable_variables
    if not _fits(optimizer, variables):
        return Plain(optimizer, variables)
    parts = number_of_parts()
    return FusedAdam(optimizer, variables, splittable_layers(model) if parts > 1 else [], parts)


class Plain:
    """Any optimizer, through its own ``apply``."""

    def __init__(self, optimizer: Any, variables: Sequence[Any]) -> None:
        """Keep the optimizer and its variables."""
        self._optimizer, self._variables = optimizer, variables
        self.trained = [variable.value for variable in variables]

    def in_place(self) -> AbstractContextManager[Any]:
        """Return a context that changes nothing."""
        return nullcontext()

    def begin(self) -> Any:
        """Return zero: the optimizer counts its own steps."""
        import tensorflow as tf

        return tf.constant(0, tf.int64)

    def apply(self, steps: Any, gradients: Sequence[Any]) -> Any:
        """Move the variables one step."""
        with _one_replica(self._optimizer):
            self._optimizer.apply(gradients, self._variables)
        return steps

    def end(self, steps: Any) -> None:
        """Write nothing back."""


@contextmanager
def _one_replica(optimizer: Any) -> Iterator[None]:
    """Leave out Keras' sum of the gradients over replicas, where there is one.

    TensorFlow registers a gradient for that sum each time it is traced, and never forgets it, nor
    the graph around it: 18 MB for each fine-tuning of a small network.
    """
    import tensorflow as tf

    name = "_all_reduce_sum_gradients"
    if tf.distribute.get_strategy().num_replicas_in_sync > 1 or not hasattr(optimizer, name):
        yield
        return
    object.__setattr__(optimizer, name, list)
    try:
        yield
    finally:
        object.__delattr__(optimizer, name)


class FusedAdam:
    """``keras.optimizers.Adam`` without extras."""

    def __init__(
        self, optimizer: Any, variables: Sequence[Any], layers: Sequence[Any] = (), parts: int = 1
    ) -> None:
        """Find the moments that the optimizer keeps for each variable.

        Args:
            optimizer: A built ``keras.optimizers.Adam``.
            variables: What it trains.
            layers: Dense layers to train in parts.
            parts: How many.
        """
        import keras

        self._optimizer = optimizer
        self._rate, self._constant_rate = optimizer._learning_rate, None
        schedule = isinstance(self._rate, keras.optimizers.schedules.LearningRateSchedule)
        self._schedule = self._rate if schedule else None
        self._splits: list[SplitKernel] = []
        split_layers = {id(layer.kernel): layer for layer in layers}
        states: list[Any] = []
        for variable in variables:
            row = optimizer._get_variable_index(variable)
            moments = optimizer._momentums[row], optimizer._velocities[row]
            if id(variable) in split_layers:
                self._splits.append(SplitKernel(split_layers[id(variable)], moments, parts))
                states += self._splits[-1].parts
            else:
                states.append(tuple(item.value for item in (variable, *moments)))
        self._states = states
        self.trained = [variable for variable, *_ in states]

    def in_place(self) -> AbstractContextManager[Any]:
        """Return a context in which split layers compute with their parts."""
        stack = ExitStack()
        for split in self._splits:
            stack.enter_context(split.in_place())
        return stack

    def begin(self) -> Any:
        """Return the optimizer's own count."""
        import tensorflow as tf

        for split in self._splits:
            split.begin()
        self._constant_rate = None if self._schedule else tf.convert_to_tensor(self._rate)
        return tf.cast(self._optimizer.iterations.value, tf.int64)

    def apply(self, steps: Any, gradients: Sequence[Any]) -> Any:
        """Move the variables one step."""
        import tensorflow as tf

        adam = self._optimizer
        rate = self._schedule(steps) if self._schedule else self._constant_rate
        rate = tf.cast(rate, tf.float32)
        steps = steps + 1
        power = tf.cast(steps, tf.float32)
        powers = [
            tf.pow(tf.constant(beta, tf.float32), power) for beta in (adam.beta_1, adam.beta_2)
        ]
        for (variable, momentum, velocity), gradient in zip(self._states, gradients, strict=True):
            if gradient is None:
                continue
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=momentum.handle,
                v=velocity.handle,
                beta1_power=powers[0],
                beta2_power=powers[1],
                lr=rate,
                beta1=adam.beta_1,
                beta2=adam.beta_2,
                epsilon=adam.epsilon,
                grad=tf.convert_to_tensor(gradient),
            )
        return steps

    def end(self, steps: Any) -> None:
        """Set the optimizer's own count."""
        iterations = self._optimizer.iterations
        iterations.assign(steps)
        for split in self._splits:
            split.end()


def _fits(optimizer: Any, variables: Sequence[Any]) -> bool:
    import keras

    extras = (
        "amsgrad",
        "weight_decay",
        "clipnorm",
        "clipvalue",
        "global_clipnorm",
        "use_ema",
        "loss_scale_factor",
        "gradient_accumulation_steps",
    )
    rate = getattr(optimizer, "_learning_rate", None)
    schedule = isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
    return (
        type(optimizer) is keras.optimizers.Adam
        and (schedule or not callable(rate))
        and not any(getattr(optimizer, extra, None) for extra in extras)
        and "update_step" not in vars(optimizer)
        and all(hasattr(optimizer, kept) for kept in ("_momentums", "_velocities"))
        and all(
            variable.dtype == "float32" and variable.constraint is None for variable in variables
        )
    )
