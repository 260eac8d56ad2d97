"""Grad-CAM: where the backbone's maps speak for a class, by the gradients of its logit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.errors import ExplanationError
from tlkit.explain.parts import check_class, find_parts, resize_image
from tlkit.records import Float32Array

if TYPE_CHECKING:
    import keras

# Below this, in nats and as a share of the largest logit, all maps together move the logit by no
# more than float32 rounding does.
_LEAST_INFLUENCE, _LEAST_SHARE = 1e-4, 1e-5


def grad_cam(model: keras.Model, image: Any, class_index: int | None = None) -> Float32Array:
    """Return where in an image the evidence for a class lies.

    Each of the backbone's last maps is weighted by the mean gradient of the class's logit with
    respect to it; what is positive in their sum speaks for the class (Selvaraju et al. 2017,
    "Grad-CAM"). The maps are coarse, such as 3 x 3 for 96 pixels, and are enlarged bilinearly.
    Where a model averages several views of an image, this is its answer to the plain one.

    Args:
        model: Pixels 0 to 255 to probabilities, as ``tlkit.run_folder.load_model()`` returns it.
        image: RGB pixels (height, width, 3), 0 to 255.
        class_index: The class, from 0; the most probable by default.

    Returns:
        float32 array (height, width), 0 to 1, the largest 1; 0 everywhere if nothing in the image
        speaks for the class.

    Raises:
        ExplanationError: If there is no such class, the model is not tlkit's, or the class's logit
            has no gradient, as with a head that looks up its nearest neighbour; or the last maps
            have one place only, which would colour all of the image alike.
    """
    import keras
    import tensorflow as tf
    from PIL import Image

    parts = find_parts(model)
    if tuple(parts.maps.shape[1:3]) == (1, 1):
        raise ExplanationError(
            "Grad-CAM cannot tell places apart: the last feature maps have 1 x 1 places. Use a "
            "model with a larger image_size, or occlusion: tlkit explain --method occlusion."
        )
    # One model with both outputs, built outside the nested network: its inner tensors belong to
    # another graph.
    both = keras.Model(model.inputs, [parts.maps, parts.logits])
    pixels = tf.constant(resize_image(image, parts))
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        # Nothing is trainable in a frozen backbone, so that the tape would record nothing.
        tape.watch(pixels)
        maps, logits = both(pixels, training=False)
        index = check_class(class_index, logits[0])
        logit = tf.cast(logits[0, index], tf.float32)
    gradients = tape.gradient(logit, maps)
    if gradients is None:
        raise _no_gradient(parts.head.name, "is not a differentiable function of the features")
    values = np.asarray(maps[0], dtype=np.float32)
    slopes = np.asarray(gradients[0], dtype=np.float32)
    least = min(_LEAST_INFLUENCE, _LEAST_SHARE * float(np.abs(logits[0]).max()))
    if not np.isfinite(slopes).all() or np.abs(slopes * values).sum() <= least:
        raise _no_gradient(parts.head.name, "does not change with the features of this image")
    heat = np.maximum(values @ slopes.mean(axis=(0, 1)), 0)
    if heat.max() <= 0:
        return np.zeros(np.shape(image)[:2], np.float32)
    height, width = np.shape(image)[:2]
    enlarged = Image.fromarray(heat / heat.max()).resize((width, height), Image.Resampling.BILINEAR)
    found = np.asarray(enlarged, dtype=np.float32)
    scaled: Float32Array = np.clip(found / found.max(), 0, 1)
    return scaled


def _no_gradient(head: str, reason: str) -> ExplanationError:
    return ExplanationError(
        f"Grad-CAM cannot explain the head '{head}': its answer {reason}, so that there is no "
        f"gradient. Use occlusion, which needs none: --method occlusion."
    )
