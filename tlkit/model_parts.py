"""Model parts: the backbone's maps, the head's features and the logits within a saved model."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tlkit.model import RESIZE_LAYER, TEMPERATURE_LAYER

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
        scores: What the head gives in its first call: the logits of each view, in the order of
            ``maps``.
        logits: What the softmax receives, (N, number of classes).
        resize: The layer that brings pixels (N, height, width, 3) to the backbone's size.
        inputs: What the backbone receives in its first call: preprocessed images.
        looks: What is preprocessed: the resized images, or all views of them as one batch.
        number_of_views: How many views the model averages over; 1 for the images alone.
        temperature: What the logits are divided by; 1 for a model that is not calibrated.
    """

    backbone: keras.Model
    head: keras.Model
    maps: Any
    features: Any
    scores: Any
    logits: Any
    resize: keras.layers.Layer
    inputs: Any
    looks: Any
    number_of_views: int
    temperature: float


def find_parts(model: keras.Model) -> ModelParts:
    """Find the parts of a model by walking its graph from the output back.

    Args:
        model: Pixels to probabilities, as ``tlkit.run_folder.load_model()`` returns it.

    Raises:
        ValueError: If it is not made of a nested backbone, a nested head and a softmax; the message
            says what it lacks.
    """
    import keras

    outputs = getattr(model, "outputs", None)
    last = _node(outputs[0]) if outputs else None
    if last is None or not isinstance(last.operation, keras.layers.Softmax):
        raise ValueError("it does not end in a softmax")
    logits = last.input_tensors[0]
    nested = [node for node in _walk_back(logits) if isinstance(node.operation, keras.Model)]
    head = _first_call(node for node in nested if len(node.output_tensors[0].shape) == 2)
    backbone = _first_call(node for node in nested if len(node.output_tensors[0].shape) == 4)
    if head is None or backbone is None:
        raise ValueError("it holds no nested backbone and head")
    try:
        resize = model.get_layer(RESIZE_LAYER)
    except ValueError as err:
        raise ValueError(f"it has no layer '{RESIZE_LAYER}'") from err
    # preprocess() may join channels, which are no images.
    joined = [node for node in _walk_back(backbone.output_tensors[0]) if _joins_images(node)]
    names = {layer.name: layer for layer in model.layers}
    return ModelParts(
        backbone=backbone.operation,
        head=head.operation,
        maps=backbone.output_tensors[0],
        features=head.input_tensors[0],
        scores=head.output_tensors[0],
        logits=logits,
        resize=resize,
        inputs=backbone.input_tensors[0],
        looks=joined[-1].output_tensors[0] if joined else resize.output,
        number_of_views=len(joined[-1].input_tensors) if joined else 1,
        temperature=1 / names[TEMPERATURE_LAYER].scale if TEMPERATURE_LAYER in names else 1.0,
    )


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


def inner_layers(network: keras.Model, most_channels: int = 512) -> tuple[str, ...]:
    """Return the layers within a network whose maps say most of how an image is made.

    Of each size of maps it is the last layer of those with the fewest channels, where blocks with a
    bottleneck hand on what they made; the first layers of them, up to a number of channels.

    Args:
        network: The nested backbone.
        most_channels: Of all these layers together; the first one may have more.

    Returns:
        Their names, from input to output; none where the network hides what is inside.
    """
    import keras

    best: dict[tuple[int, ...], tuple[int, str]] = {}
    for layer in getattr(network, "layers", ()):
        try:
            shape = layer.output.shape
        except (AttributeError, ValueError):  # several outputs, or none that is known
            continue
        # Pixels, as they are or rescaled, are no maps, and padding makes no new ones.
        if len(shape) != 4 or None in shape[1:] or shape[-1] <= 4:
            continue
        if isinstance(layer, keras.layers.ZeroPadding2D):
            continue
        size, channels = tuple(shape[1:3]), shape[-1]
        if size not in best or channels <= best[size][0]:
            best[size] = channels, layer.name
    chosen: list[str] = []
    total = 0
    for channels, name in best.values():
        total += channels
        if chosen and total > most_channels:
            break
        chosen.append(name)
    return tuple(chosen)


def _joins_images(node: Any) -> bool:
    return type(node.operation).__name__ == "Concatenate" and node.operation.axis == 0


def _first_call(nodes: Iterator[Any]) -> Any:
    """Return, of all calls of the network that comes first, the one that was made first."""
    found = list(nodes)
    if not found:
        return None
    calls = [node for node in found if node.operation is found[0].operation]
    return min(calls, key=lambda node: node.operation._inbound_nodes.index(node))
