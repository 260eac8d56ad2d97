"""Resizing as two matrix products, which every format can hold.

Keras resizes with TensorFlow's operation ScaleAndTranslate, which ONNX, LiteRT and OpenVINO do not
have, and what they have instead gives other pixels. Resizing is linear in each direction, so it is
a product with one matrix for the height and one for the width; their entries are those that
TensorFlow's kernel (``scale_and_translate_op.cc``) computes, written in elementary operations of
the height and width, which may be known only when the file is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tlkit.errors import ExportError

# The operations below carry this name into the files, where quantisation leaves them out: pixels
# that were resized in 8 bits cost MobileNetV2 half of its right answers.
SCOPE = "tlkit_resize"


@contextmanager
def matrix_resizing(model: Any) -> Iterator[None]:
    """Let the resizing layers of a model compute with matrices while TensorFlow traces it.

    Args:
        model: A Keras model.

    Raises:
        ExportError: If one of them does what matrices alone cannot, such as cropping.
    """
    layers = _resizing_layers(model)
    try:
        for layer in layers:
            object.__setattr__(layer, "call", _call_of(layer))
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("call", None)


def resize(pixels: Any, height: int, width: int, interpolation: str, antialias: bool) -> Any:
    """Resize a tensor of images.

    Args:
        pixels: float32 (N, any height, any width, channels); the sizes may be unknown yet.
        height: New height.
        width: New width.
        interpolation: One of ``KERNELS``.
        antialias: Whether the kernel is widened where the image is made smaller.

    Returns:
        float32 (N, height, width, channels).
    """
    import tensorflow as tf

    kernel = KERNELS[interpolation]
    with tf.name_scope(SCOPE):
        shape = tf.shape(pixels)
        old_height = shape[1] if pixels.shape[1] is None else pixels.shape[1]
        old_width = shape[2] if pixels.shape[2] is None else pixels.shape[2]
        # No reshape: with the channels in front every runtime sees plain products.
        rows = tf.transpose(pixels, (0, 3, 1, 2))
        wide = tf.matmul(rows, kernel(old_width, width, antialias))
        columns = tf.transpose(wide, (0, 1, 3, 2))
        high = tf.matmul(columns, kernel(old_height, height, antialias))
        return tf.transpose(high, (0, 3, 2, 1))


def _kernel(radius: float, function: Callable[[Any], Any]) -> Callable[[Any, int, bool], Any]:
    """Return what computes the matrix (old, new) of a kernel, a function of the distance."""

    def matrix(old: Any, new: int, antialias: bool) -> Any:
        import tensorflow as tf

        before, centre, step = _places(old, new)
        width = tf.maximum(step, 1.0) if antialias else tf.ones_like(step)
        distance = tf.abs(before[:, None] + 0.5 - centre[None, :]) / width
        weights = function(distance)
        if radius > 1:  # the others are 0 from there on
            weights *= tf.cast(distance <= radius, tf.float32)
        return weights / tf.reduce_sum(weights, axis=0, keepdims=True)

    return matrix


def _places(old: Any, new: int) -> tuple[Any, Any, Any]:
    """Return the old pixels' numbers, the new pixels' centres among them, and the step between."""
    import tensorflow as tf

    size = tf.cast(old, tf.float32)
    step = size / float(new)
    centre = (tf.range(float(new), dtype=tf.float32) + 0.5) * step
    return tf.range(size, dtype=tf.float32), centre, step


def _triangle(distance: Any) -> Any:
    import tensorflow as tf

    return tf.nn.relu(1.0 - distance)


def _keys_cubic(distance: Any) -> Any:
    """Keys' cubic with a = -1/2, which TensorFlow's is."""
    import tensorflow as tf

    near = (1.5 * distance - 2.5) * distance * distance + 1.0
    far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
    return tf.where(distance < 1.0, near, tf.where(distance < 2.0, far, tf.zeros_like(distance)))


def _lanczos(radius: float) -> Callable[[Any], Any]:
    def function(distance: Any) -> Any:
        import tensorflow as tf

        angle = tf.maximum(distance, 1e-3) * 3.141592653589793
        value = radius * tf.sin(angle) * tf.sin(angle / radius) / (angle * angle)
        return tf.where(distance <= 1e-3, tf.ones_like(value), value)

    return function


def _nearest(old: Any, new: int, antialias: bool) -> Any:
    import tensorflow as tf

    before, centre, _ = _places(old, new)
    return tf.cast(tf.equal(before[:, None], tf.floor(centre)[None, :]), tf.float32)


def _area(old: Any, new: int, antialias: bool) -> Any:
    """The share of each new pixel's area that each old one covers."""
    import tensorflow as tf

    before, centre, step = _places(old, new)
    start, end = centre - step / 2, centre + step / 2
    upper = tf.minimum(before[:, None] + 1.0, end[None, :])
    lower = tf.maximum(before[:, None], start[None, :])
    return tf.nn.relu(upper - lower) / step


KERNELS: dict[str, Callable[[Any, int, bool], Any]] = {
    "area": _area,
    "bicubic": _kernel(2.0, _keys_cubic),
    "bilinear": _kernel(1.0, _triangle),
    "lanczos3": _kernel(3.0, _lanczos(3.0)),
    "lanczos5": _kernel(5.0, _lanczos(5.0)),
    "nearest": _nearest,
}


def _resizing_layers(model: Any) -> list[Any]:
    import keras

    layers = [
        layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Resizing)
    ]
    for layer in layers:
        odd = layer.crop_to_aspect_ratio or layer.pad_to_aspect_ratio
        if odd or layer.data_format != "channels_last" or layer.interpolation not in KERNELS:
            raise ExportError(
                f"The layer '{layer.name}' resizes in a way that this format cannot hold; allowed: "
                f"channels last, no cropping and no padding, and one of {', '.join(KERNELS)}. "
                f"Export it with --to keras,savedmodel."
            )
    return layers


def _call_of(layer: Any) -> Callable[..., Any]:
    def call(images: Any, *args: Any, **kwargs: Any) -> Any:
        return resize(images, layer.height, layer.width, layer.interpolation, layer.antialias)

    return call
