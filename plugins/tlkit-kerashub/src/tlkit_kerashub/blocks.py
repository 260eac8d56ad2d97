"""The blocks of a KerasHub network that fine-tuning unfreezes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

# Names of plain Keras layers in the networks that are made of them, such as
# "stack2_block1_0_conv" (ResNet, DenseNet), "stage_1_block_0_..." (CSPNet), "block2b_dwconv"
# (EfficientNet), "block3_sepconv1" (Xception), "block1_conv2" (VGG).
_BLOCK = re.compile(r"^(stack\d+_block\d+|transition\d+|stage_\d+|block\d+[a-z]?)(?=_)")


def group_layers(layers: Iterable[Any]) -> list[list[Any]]:
    """Group the layers of a network into blocks, from input to output.

    A block is a transformer block, a residual block, a stage, or what stands before and between
    them; layers that belong to none go with the block before.

    Args:
        layers: The layers of one network, in order.

    Returns:
        The blocks; each has weights, and together they have all weights.
    """
    groups: list[list[Any]] = [[]]
    current: Any = None
    for layer in _spread(layers):
        key = _block_of(layer)
        if key is not None and key != current and any(item.weights for item in groups[-1]):
            groups.append([])
        if key is not None:
            current = key
        groups[-1].append(layer)
    return groups


def _block_of(layer: Any) -> Any:
    match = _BLOCK.match(layer.name)
    if match:
        return match.group(0)
    return id(layer) if _is_from_kerashub(layer) and layer.weights else None


def _spread(layers: Iterable[Any]) -> Iterator[Any]:
    """Yield layers; of one that holds a row of blocks, what it holds."""
    for layer in layers:
        inner = sublayers(layer)
        if _holds_blocks(layer, inner):
            yield from _spread(inner)
        else:
            yield layer


def _holds_blocks(layer: Any, inner: list[Any]) -> bool:
    if not (_is_from_kerashub(layer) and type(layer).__name__.endswith(("Encoder", "Stage"))):
        return False
    kinds = Counter(type(item) for item in inner if item.weights and _is_from_kerashub(item))
    held = {id(weight) for item in inner for weight in item.weights}
    return any(count > 1 for count in kinds.values()) and all(
        id(weight) in held for weight in layer.weights
    )


def sublayers(layer: Any) -> list[Any]:
    """Return the layers directly inside one, in order."""
    return list(layer._flatten_layers(include_self=False, recursive=False))


def _is_from_kerashub(layer: Any) -> bool:
    return type(layer).__module__.startswith("keras_hub.")
