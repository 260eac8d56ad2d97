"""Occlusion: how far a class's probability drops where a patch hides the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.errors import ConfigError
from tlkit.explain.parts import check_class, find_parts, resize_image
from tlkit.records import Float32Array

if TYPE_CHECKING:
    import keras

PATCH, STRIDE = 0.25, 0.0625
_BATCH_SIZE = 64


def occlusion(
    model: keras.Model,
    image: Any,
    class_index: int | None = None,
    *,
    patch: float = PATCH,
    stride: float = STRIDE,
) -> Float32Array:
    """Return how far the probability of a class drops where a patch hides the image.

    A square of the image's mean colour slides over the image (Zeiler and Fergus 2014, "Visualizing
    and Understanding Convolutional Networks", section 4.2). A pixel's value is the mean drop over
    all patches that hide it. No gradient is needed, so every head can be explained.

    Args:
        model: Pixels 0 to 255 to probabilities, as ``tlkit.run_folder.load_model()`` returns it.
        image: RGB pixels (height, width, 3), 0 to 255.
        class_index: The class, from 0; the most probable by default.
        patch: Side of the patch as a share of the image's sides, above 0 and below 1.
        stride: How far it moves at a time, as a share of the sides, above 0 and up to ``patch``.
            The model runs about ``((1 - patch) / stride + 1) ** 2`` times.

    Returns:
        float32 array (height, width), 0 to 1: the drop of the probability; 0 where the patch
        leaves or raises it.

    Raises:
        ConfigError: If ``patch`` or ``stride`` is out of range.
        ExplanationError: If there is no such class, or the model is not tlkit's.
    """
    from PIL import Image

    check_patch(patch, stride)
    parts = find_parts(model)
    batch = resize_image(image, parts)
    whole = np.asarray(model.predict_on_batch(batch))[0]
    index = check_class(class_index, whole)
    size = batch.shape[1]
    side, step = max(1, round(patch * size)), max(1, round(stride * size))
    # The last position touches the edge, so that every pixel is hidden at least once.
    starts = sorted({*range(0, size - side, step), size - side})
    corners = [(top, left) for top in starts for left in starts]
    mean = batch[0].mean(axis=(0, 1))
    drops, hidden = np.zeros((size, size)), np.zeros((size, size))
    for first in range(0, len(corners), _BATCH_SIZE):
        chunk = corners[first : first + _BATCH_SIZE]
        views = np.repeat(batch, len(chunk), axis=0)
        for view, (top, left) in zip(views, chunk, strict=True):
            view[top : top + side, left : left + side] = mean
        probabilities = np.asarray(model.predict_on_batch(views))[:, index]
        for probability, (top, left) in zip(probabilities, chunk, strict=True):
            drops[top : top + side, left : left + side] += whole[index] - probability
            hidden[top : top + side, left : left + side] += 1
    heat = np.maximum(drops / hidden, 0).astype(np.float32)
    height, width = np.shape(image)[:2]
    enlarged = Image.fromarray(heat).resize((width, height), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(enlarged, dtype=np.float32), 0, 1)


def check_patch(patch: float, stride: float) -> None:
    """Check the side and the stride of the patch.

    Raises:
        ConfigError: If one of them is out of range.
    """
    if not 0 < patch < 1:
        raise ConfigError(
            f"patch = {patch:g} is not allowed: a share of the image's side above 0 and below 1."
        )
    if not 0 < stride <= patch:
        raise ConfigError(
            f"stride = {stride:g} is not allowed: a share of the image's side above 0 and up to "
            f"the patch, {patch:g}."
        )
