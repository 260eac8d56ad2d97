"""Parts: the backbone's maps, the head's features and the logits within a saved model."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.errors import ExplanationError
from tlkit.model import RESIZE_LAYER
from tlkit.records import Float32Array

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class ModelParts:
    """What lies between the pixels and the probabilities of a model that tlkit saved.

    Attributes:
        backbone: The nested network.
        head: The nested classifier.
        maps: The symbolic output (N, h, w, channels) of the backbone's first call. Of a model that
            averages over views N is the number of images times views, the images as they are first.
        features: What the head receives in its first call.
        logits: What the softmax receives, (N, number of classes).
        resize: The layer that brings pixels (N, height, width, 3) to the backbone's size.
    """

    backbone: keras.Model
    head: keras.Model
    maps: Any
    features: Any
    logits: Any
    resize: keras.layers.Layer


def find_parts(model: keras.Model) -> ModelParts:
    """Find the parts of a model by walking its graph from the output back.

    Args:
        model: Pixels to probabilities, as ``tlkit.run_folder.load_model()`` returns it.

    Raises:
        ExplanationError: If it is not made of a nested backbone, a nested head and a softmax.
    """
    import keras

    outputs = getattr(model, "outputs", None)
    last = _node(outputs[0]) if outputs else None
    if last is None or not isinstance(last.operation, keras.layers.Softmax):
        raise _foreign("it does not end in a softmax")
    logits = last.input_tensors[0]
    nested = [node for node in _walk_back(logits) if isinstance(node.operation, keras.Model)]
    head = _first_call(node for node in nested if len(node.output_tensors[0].shape) == 2)
    backbone = _first_call(node for node in nested if len(node.output_tensors[0].shape) == 4)
    if head is None or backbone is None:
        raise _foreign("it holds no nested backbone and head")
    try:
        resize = model.get_layer(RESIZE_LAYER)
    except ValueError as err:
        raise _foreign(f"it has no layer '{RESIZE_LAYER}'") from err
    return ModelParts(
        backbone=backbone.operation,
        head=head.operation,
        maps=backbone.output_tensors[0],
        features=head.input_tensors[0],
        logits=logits,
        resize=resize,
    )


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


def _node(tensor: Any) -> Any:
    # Keras has no public way from a symbolic tensor to the call that made it.
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index]


def _walk_back(tensor: Any) -> Iterator[Any]:
    """Yield the calls that a symbolic tensor depends on, the nearest first."""
    waiting, seen = deque([_node(tensor)]), set()
    while waiting:
        node = waiting.popleft()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        waiting.extend(_node(item) for item in node.input_tensors)


def _first_call(nodes: Iterator[Any]) -> Any:
    """Return, of all calls of the network that comes first, the one that was made first."""
    found = list(nodes)
    if not found:
        return None
    calls = [node for node in found if node.operation is found[0].operation]
    return min(calls, key=lambda node: node.operation._inbound_nodes.index(node))


def _foreign(reason: str) -> ExplanationError:
    return ExplanationError(
        f"Cannot explain this model: {reason}. Allowed: a model that tlkit saved, pixels to "
        f"probabilities."
    )
