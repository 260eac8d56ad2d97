"""Batch augmentation: new random views of the images of each batch, drawn while training."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tlkit.augmentation import Augmentation
from tlkit.whole_batch_draws import rows_of_draw


def make_augment(
    augmentation: Augmentation, image_size: int, interpolation: str, generator: Any
) -> Callable[[Any], Any]:
    """Return a function that draws a view of each image of a batch.

    It draws what ``tlkit.augmentation`` draws for stored views: crop, side ratio, mirror image,
    then brightness, contrast and saturation. Without any of them it equals the backbone's bilinear
    resizing of images that are enlarged.

    Args:
        augmentation: How the views differ from the images.
        image_size: Side of a view, in pixels.
        interpolation: ``"nearest"`` or anything else, which becomes bilinear.
        generator: The ``keras.random.SeedGenerator`` that it draws by.

    Returns:
        A function from float32 (N, height, width, 3), values 0 to 255, to float32 (N, image_size,
        image_size, 3), to be called while TensorFlow traces.
    """
    import keras
    import tensorflow as tf

    method = "NEAREST" if interpolation == "nearest" else "BILINEAR"

    def uniform(count: Any, low: Any = 0.0, high: Any = 1.0) -> Any:
        drawn = rows_of_draw(lambda rows: keras.random.uniform((rows,), seed=generator), count)
        return low + drawn * (high - low)

    def augment(images: Any) -> Any:
        count = tf.shape(images)[0]
        height, width = images.shape[1], images.shape[2]
        area = uniform(count, 1 - augmentation.crop, 1.0)
        ratio = tf.ones_like(area)
        if augmentation.crop:
            ratio = tf.exp(uniform(count, math.log(3 / 4), math.log(4 / 3)))
            ratio = tf.clip_by_value(ratio, area, 1 / area)
        crop_width, crop_height = width * tf.sqrt(area * ratio), height * tf.sqrt(area / ratio)
        left = uniform(count) * (width - crop_width)
        upper = uniform(count) * (height - crop_height)
        scale_x, scale_y = crop_width / image_size, crop_height / image_size
        # Pixel i of the view shows the place left + (i + 1/2) * scale - 1/2 of the image.
        begin_x = left + scale_x / 2 - 0.5
        begin_y = upper + scale_y / 2 - 0.5
        if augmentation.flip:
            mirrored = uniform(count) < 0.5
            begin_x = tf.where(mirrored, begin_x + (image_size - 1) * scale_x, begin_x)
            scale_x = tf.where(mirrored, -scale_x, scale_x)
        zero = tf.zeros_like(area)
        transforms = tf.stack([scale_x, zero, begin_x, zero, scale_y, begin_y, zero, zero], axis=1)
        views = tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=transforms,
            output_shape=tf.constant((image_size, image_size), tf.int32),
            fill_value=tf.constant(0.0),
            interpolation=method,
            fill_mode="NEAREST",
        )
        views = tf.ensure_shape(views, (images.shape[0], image_size, image_size, 3))
        if not augmentation.colour:
            return views
        least, most = 1 - augmentation.colour, 1 + augmentation.colour
        return _change_colours(views, [uniform(count, least, most) for _ in range(3)])

    return augment


def _change_colours(views: Any, factors: list[Any]) -> Any:
    """Return views with brightness, contrast and saturation times factors, each (N,)."""
    import tensorflow as tf

    brightness, contrast, saturation = (factor[:, None, None, None] for factor in factors)
    views = tf.clip_by_value(views * brightness, 0, 255)
    mean = tf.reduce_mean(tf.image.rgb_to_grayscale(views), axis=(1, 2, 3), keepdims=True)
    views = tf.clip_by_value(mean + (views - mean) * contrast, 0, 255)
    grey = tf.image.rgb_to_grayscale(views)
    return tf.clip_by_value(grey + (views - grey) * saturation, 0, 255)
