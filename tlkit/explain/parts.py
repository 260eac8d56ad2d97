"""Parts of a saved model, as explanations need them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit import model_parts
from tlkit.errors import ExplanationError
from tlkit.model_parts import ModelParts
from tlkit.records import Float32Array

if TYPE_CHECKING:
    import keras

__all__ = ["ModelParts", "check_class", "find_parts", "resize_image"]


def find_parts(model: keras.Model) -> ModelParts:
    """Find the parts of a model; see ``tlkit.model_parts.find_parts()``.

    Raises:
        ExplanationError: If it is not made of a nested backbone, a nested head and a softmax.
    """
    try:
        return model_parts.find_parts(model)
    except ValueError as err:
        raise ExplanationError(
            f"Cannot explain this model: {err}. Allowed: a model that tlkit saved, pixels to "
            f"probabilities."
        ) from err


def resize_image(image: Any, parts: ModelParts) -> Float32Array:
    """Return one image as a batch of one at the backbone's size.

    Args:
        image: RGB pixels (height, width, 3), 0 to 255.
        parts: The parts of the model that is to see it.

    Returns:
        A float32 array (1, image_size, image_size, 3).

    Raises:
        ExplanationError: If the image has another shape.
    """
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[-1] != 3 or not pixels.size:
        raise ExplanationError(
            f"Cannot explain an image of shape {pixels.shape}; allowed: one image of RGB pixels "
            f"(height, width, 3), 0 to 255."
        )
    return np.asarray(parts.resize(pixels[None].astype(np.float32)), dtype=np.float32)


def check_class(class_index: int | None, probabilities: Any) -> int:
    """Return the class to explain: the given one, else the most probable.

    Raises:
        ExplanationError: If there is no class of that number.
    """
    if class_index is None:
        return int(np.argmax(probabilities))
    if not 0 <= class_index < len(probabilities):
        raise ExplanationError(
            f"There is no class {class_index}; allowed: 0 to {len(probabilities) - 1}."
        )
    return int(class_index)
