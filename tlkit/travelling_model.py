"""Travelling model: a frozen network as bytes that need none of the code which built it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tlkit.errors import EngineError

if TYPE_CHECKING:
    import keras

_INPUT, _OUTPUT = "pixels", "features"


def packed_model(model: keras.Model) -> bytes:
    """Return a model in inference mode as a TensorFlow graph whose weights are constants.

    Custom layers are operations there, so that whoever unpacks it needs no plugin.

    Args:
        model: From pixels (N, size, size, 3) to features (N, ...), both float32.

    Raises:
        EngineError: If it is larger than a graph may be, which is 2 GB.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    traced = tf.function(
        lambda pixels: tf.identity(model(pixels, training=False), name=_OUTPUT),
        input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name=_INPUT)],
        autograph=False,
        jit_compile=False,
    ).get_concrete_function()
    try:
        graph = convert_variables_to_constants_v2(traced).graph.as_graph_def()
        return bytes(graph.SerializeToString())
    except ValueError as err:
        raise EngineError(
            f"The backbone cannot be sent to other machines: {err}. Its weights may take up to 2 "
            f"GB. Set [engine] distribute = 'none'."
        ) from err


def unpacked_model(packed: bytes, input_shape: Any, output_shape: Any) -> keras.Model:
    """Return what ``packed_model()`` packed, as a model of one layer.

    Args:
        packed: The bytes.
        input_shape: The shape of one image.
        output_shape: The shape of its features.
    """
    import keras
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef.FromString(packed)
    whole = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph, name=""), [])
    run = whole.prune(f"{_INPUT}:0", f"{_OUTPUT}:0")

    class Graph(keras.layers.Layer):  # type: ignore[misc]
        def call(self, pixels: Any) -> Any:
            return tf.ensure_shape(run(tf.cast(pixels, tf.float32)), (None, *output_shape))

        def compute_output_spec(self, pixels: Any) -> Any:
            return keras.KerasTensor((pixels.shape[0], *output_shape), "float32")

    pixels = keras.Input(tuple(input_shape))
    return keras.Model(pixels, Graph(name="graph")(pixels))
