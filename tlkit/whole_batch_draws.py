"""Whole-batch draws: a share of a batch gets the random numbers that it has in the whole batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_NAMES = (
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "GaussianDropout",
    "GaussianNoise",
    "AlphaDropout",
)


@dataclass(frozen=True)
class Share:
    """Which rows of a batch a device works on; int32 scalars of TensorFlow.

    Attributes:
        begin: The first row.
        end: The row after the last one.
        total: Number of rows of the batch.
    """

    begin: Any
    end: Any
    total: Any


_current: list[Share] = []


def rows_of_draw(draw: Callable[[Any], Any], count: Any) -> Any:
    """Return random numbers for the rows at hand.

    Args:
        draw: From a number of rows to as many random values.
        count: The number of rows at hand.
    """
    if not _current:
        return draw(count)
    share = _current[-1]
    return draw(share.total)[share.begin : share.end]


@contextmanager
def whole_batch_draws(model: Any, share: Share) -> Iterator[None]:
    """Let the dropout and noise layers of a model draw for the whole batch while it is traced.

    The rows at hand are put at their place among zeros; what a layer makes of the zeros is cut off
    again. So no formula of Keras is repeated here.

    Args:
        model: A ``keras.Model``.
        share: The rows that it is called with.
    """
    changed = list(_drawing_layers(model))
    _current.append(share)
    try:
        for layer in changed:
            object.__setattr__(layer, "call", _make_call(layer, share))
        yield
    finally:
        _current.pop()
        for layer in changed:
            vars(layer).pop("call", None)


def _drawing_layers(model: Any) -> Iterator[Any]:
    import keras

    known = {getattr(keras.layers, name) for name in _NAMES}
    for layer in model._flatten_layers():
        if type(layer) in known:
            yield layer


def _make_call(layer: Any, share: Share) -> Any:
    import tensorflow as tf

    plain = layer.call

    def call(inputs: Any, training: Any = False) -> Any:
        if not training:
            return plain(inputs, training=training)
        around = [[share.begin, share.total - share.end]]
        padded = tf.pad(inputs, tf.concat([around, [[0, 0]] * (inputs.shape.rank - 1)], axis=0))
        padded = tf.ensure_shape(padded, (None, *inputs.shape[1:]))
        return plain(padded, training=training)[share.begin : share.end]

    return call
