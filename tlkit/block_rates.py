"""Block rates: how far each block of a network moves in a step, and when it begins to move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class BlockRates:
    """Factors of the updates of each block, set on an optimizer.

    The updates are scaled, not the gradients: Adam's updates hardly change when gradients are
    scaled. Weight decay is scaled with them, so that a block with the factor 0 holds still.
    """

    def __init__(self, groups: Sequence[Sequence[Any]], decay: float, epochs_each: int = 0) -> None:
        """Set the factors.

        Args:
            groups: ``keras.Variable`` objects, from the output to the input; the first group is the
                head's.
            decay: The factor of each group is that of the group above it times this; 1 for the same
                factor everywhere (layer-wise learning rate decay, Howard and Ruder 2018).
            epochs_each: Every so many epochs one more group begins to move, the head first; 0 for
                all from the beginning (gradual unfreezing, the same paper).
        """
        import tensorflow as tf

        self._full = [decay**depth for depth in range(len(groups))]
        self._epochs_each = epochs_each
        self._factors = [
            tf.Variable(factor, trainable=False, dtype=tf.float32) for factor in self._full
        ]
        self._factor_of = {
            id(variable.value): factor
            for group, factor in zip(groups, self._factors, strict=True)
            for variable in group
        }

    def begin_epoch(self, epoch: int) -> None:
        """Let those groups move whose turn has come.

        Args:
            epoch: The epoch of the phase, from 1.
        """
        if not self._epochs_each:
            return
        moving = 1 + (epoch - 1) // self._epochs_each
        for depth, factor in enumerate(self._factors):
            # The head and the first block begin together: a trained head has nothing to wait for.
            factor.assign(self._full[depth] if depth <= moving else 0.0)

    def set_on(self, optimizer: Any) -> None:
        """Make an optimizer scale its updates; call it before the optimizer is built.

        Args:
            optimizer: A fresh ``keras.optimizers.Optimizer``.
        """
        update_step, decay = optimizer.update_step, optimizer.weight_decay
        optimizer.weight_decay = None

        def scaled(gradient: Any, variable: Any, learning_rate: Any) -> None:
            import tensorflow as tf

            rate = tf.cast(learning_rate, tf.float32) * self._factor_of[id(variable)]
            if decay and optimizer._use_weight_decay(variable):
                variable.assign(variable - variable * decay * rate)
            update_step(gradient, variable, rate)

        optimizer.update_step = scaled
