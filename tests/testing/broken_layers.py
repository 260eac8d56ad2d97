"""Layers of the plugins that are broken on purpose, where other processes find them."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("broken")
class ByTheBatch(keras.layers.Layer):
    """It takes the mean of the batch away."""

    def call(self, inputs: Any) -> Any:
        return inputs - keras.ops.mean(inputs, axis=0, keepdims=True)


@keras.saving.register_keras_serializable("broken")
class Counting(keras.layers.Layer):
    """It counts its calls in training."""

    def build(self, input_shape: Any) -> None:
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if training:
            self.calls.assign_add(1.0)
        return inputs


@keras.saving.register_keras_serializable("broken")
class CountingAlways(Counting):
    """It counts all its calls."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        return super().call(inputs, training=True)
