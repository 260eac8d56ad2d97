"""Tracing: a Keras model as one TensorFlow graph from pixels to probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tlkit.export.matrix_resizing import matrix_resizing

INPUT, OUTPUT = "pixels", "probabilities"


@dataclass(frozen=True)
class Graph:
    """A model without variables, made of operations that the converters know.

    Attributes:
        function: The TensorFlow function, from uint8 (N, height, width, 3).
        definition: Its graph, whose nodes ``INPUT`` and ``OUTPUT`` are what their names say.
    """

    function: Any
    definition: Any


def trace(model: Any, input_size: tuple[int, int] | None = None) -> Graph:
    """Trace a model in inference mode, its weights as constants.

    Args:
        model: RGB pixels to probabilities, as ``tlkit.run_folder.load_model()`` returns it.
        input_size: Height and width of all pictures; None for pictures of any size.

    Raises:
        ExportError: If a layer resizes in a way that only TensorFlow can.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    height, width = input_size or (None, None)
    signature = [tf.TensorSpec((None, height, width, 3), tf.uint8, name=INPUT)]
    with matrix_resizing(model), _inner_functions_inline():
        traced = tf.function(
            lambda pixels: tf.identity(
                model(tf.cast(pixels, tf.float32), training=False), name=OUTPUT
            ),
            input_signature=signature,
            autograph=False,
            jit_compile=False,
        ).get_concrete_function()
    function = convert_variables_to_constants_v2(traced)
    return Graph(function, function.graph.as_graph_def())


@contextmanager
def _inner_functions_inline() -> Iterator[None]:
    """Let functions that are called in a traced one become part of its graph.

    Keras compiles convolutions in groups with XLA, and such a call stays a call in the graph.
    """
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)
