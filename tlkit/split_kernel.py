"""Kernels of dense layers trained in parts, so that each core keeps one part to itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tlkit.runtime import number_of_cores, runs_one_thread_per_operation

# Below this many elements a step is too short to be worth handing to another thread.
LEAST_ELEMENTS = 2**15
MAX_PARTS = 4


def number_of_parts() -> int:
    """Return into how many parts kernels should be split; 1 to leave them whole.

    Where TensorFlow splits each operation over the cores itself, splitting them again only costs.
    """
    return min(number_of_cores(), MAX_PARTS) if runs_one_thread_per_operation() else 1


def splittable_layers(model: Any) -> list[Any]:
    """Return the dense layers of a model whose kernels are large and trained plainly.

    Code of others may read a kernel in its own way, past the layer's call; a model with layers that
    are not Keras' own is left whole.
    """
    import keras

    found: list[Any] = []
    if not all(type(item).__module__.startswith("keras.") for item in (model, *model.layers)):
        return found
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += splittable_layers(layer)
        elif (
            type(layer) is keras.layers.Dense
            and layer.trainable
            and layer.kernel.shape[0] >= MAX_PARTS
            and not layer.lora_enabled
            and layer.quantization_mode is None
            and layer.kernel_regularizer is None
            and layer.compute_dtype == "float32"
            and int(np.prod(layer.kernel.shape)) >= LEAST_ELEMENTS
        ):
            found.append(layer)
    return found


class SplitKernel:
    """One layer's kernel (rows, columns) as variables of some rows each.

    A step reads a part, finds its gradient and moves it without waiting for the other parts; they
    meet once, where the products are added up. Split over the cores operation by operation, as
    TensorFlow does by itself, they would meet three times, which at batches of 32 takes longer
    than the arithmetic. Only the order of the additions changes.

    Attributes:
        parts: For each part its kernel and what the optimizer keeps for it, as ``tf.Variable``.
    """

    def __init__(self, layer: Any, kept: Sequence[Any], parts: int) -> None:
        """Make the variables; ``begin()`` fills them.

        Args:
            layer: A built ``keras.layers.Dense``.
            kept: What the optimizer keeps for the kernel, each ``keras.Variable`` of its shape.
            parts: How many; at most the number of rows.
        """
        import tensorflow as tf

        self._layer = layer
        self._whole = [variable.value for variable in (layer.kernel, *kept)]
        rows = self._whole[0].shape[0]
        self._heights = [len(part) for part in np.array_split(np.arange(rows), parts)]
        blocks = [tf.split(variable, self._heights) for variable in self._whole]
        self.parts = [tuple(map(tf.Variable, part)) for part in zip(*blocks, strict=True)]

    def begin(self) -> None:
        """Copy the whole variables into the parts; called while TensorFlow traces."""
        import tensorflow as tf

        for number, variable in enumerate(self._whole):
            blocks = tf.split(variable, self._heights)
            for part, block in zip(self.parts, blocks, strict=True):
                part[number].assign(block)

    def end(self) -> None:
        """Copy the parts back; called while TensorFlow traces."""
        import tensorflow as tf

        for number, variable in enumerate(self._whole):
            variable.assign(tf.concat([part[number] for part in self.parts], axis=0))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the layer compute with the parts while TensorFlow traces a call of its model."""
        import tensorflow as tf

        layer = self._layer

        def call(inputs: Any, training: Any = None) -> Any:
            pieces = tf.split(inputs, self._heights, axis=-1)
            x = tf.add_n(
                [tf.matmul(piece, part[0]) for piece, part in zip(pieces, self.parts, strict=True)]
            )
            if layer.bias is not None:
                x = x + layer.bias
            return x if layer.activation is None else layer.activation(x)

        object.__setattr__(layer, "call", call)
        try:
            yield
        finally:
            object.__delattr__(layer, "call")
