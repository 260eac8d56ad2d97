"""Freezing: which blocks of a network train, and what holds still meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tlkit.backbone import Backbone
from tlkit.errors import ConfigError, PluginError
from tlkit.plugin_calls import describe_plugin, plugin_call

if TYPE_CHECKING:
    import keras


def freeze(network: keras.Model) -> None:
    """Make every layer of a network untrainable."""
    network.trainable = False


def unfreeze(network: keras.Model, blocks: list[Any], count: int | Literal["all"]) -> None:
    """Make the last blocks trainable, batch normalisation excepted.

    Keras runs a BatchNormalization layer with ``trainable = False`` in inference mode, so its
    statistics hold still; ``training=False`` in the call does not reach nested layers in ``fit``
    (keras-team/keras#20285). Models must be recompiled afterwards.

    Args:
        network: What the backbone built.
        blocks: The groups of layers that ``Backbone.blocks()`` returned.
        count: How many blocks to unfreeze, from the output; ``"all"`` for the whole network.

    Raises:
        ConfigError: If there are not that many blocks.
    """
    import keras

    check_block_count(blocks, count)
    network.trainable = True
    leaves = list(_leaves(network))
    for layer in leaves:
        layer.trainable = False
    for weight in network.trainable_weights:  # those of layers that have layers inside
        weight.trainable = False
    chosen = (
        network.layers if count == "all" else [x for b in blocks[len(blocks) - count :] for x in b]
    )
    for layer in chosen:
        # A layer hands this down to the layers inside it, but not when it has that value already.
        layer.trainable = False
        layer.trainable = True
    for layer in leaves:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def blocks_of(backbone: Backbone, network: keras.Model) -> list[list[keras.layers.Layer]]:
    """Return the blocks of a network that the backbone built, from input to output.

    Raises:
        PluginError: If ``blocks()`` fails, or does not return lists of the network's layers.
    """
    with plugin_call(backbone, "blocks()"):
        blocks = [list(block) for block in backbone.blocks(network)]
    own = {id(layer) for layer in network._flatten_layers()}
    strange = [layer for block in blocks for layer in block if id(layer) not in own]
    if strange or not all(blocks):
        what = repr(strange[0]) if strange else "an empty block"
        raise PluginError(
            f"{describe_plugin(backbone)} returned {what} from blocks(); allowed: lists of one or "
            f"more layers of the network that build() returned."
        )
    return blocks


def check_block_count(blocks: list[Any], count: int | Literal["all"]) -> None:
    """Check that a backbone has so many blocks.

    Raises:
        ConfigError: If it does not.
    """
    if count != "all" and not 0 <= count <= len(blocks):
        raise ConfigError(
            f"Cannot unfreeze {count} blocks: allowed are 0 to {len(blocks)} for this backbone, "
            f"or 'all'."
        )


def split_network(
    network: keras.Model, blocks: list[Any], count: int
) -> tuple[keras.Model, keras.Model] | None:
    """Cut a network in front of its last blocks.

    Args:
        network: What the backbone built.
        blocks: The groups of layers that ``Backbone.blocks()`` returned.
        count: How many blocks, from the output, belong to the second part.

    Returns:
        The part that comes first and the part that takes its output, sharing the network's layers;
        None where one array alone does not pass between them, or nothing comes first.
    """
    import keras

    if not 0 < count < len(blocks):
        return None
    between = blocks[len(blocks) - count - 1][-1]
    try:
        last = between.output
        tail = keras.Model(last, network.outputs[0])
        trunk = keras.Model(network.inputs, last)
    except (AttributeError, KeyError, TypeError, ValueError):  # several outputs, or a way around
        return None
    inner = {id(layer) for layer in tail.layers}
    held = all(id(layer) in inner for block in blocks[len(blocks) - count :] for layer in block)
    return (trunk, tail) if held and isinstance(last, keras.KerasTensor) else None


def movable_groups(head: keras.Model, network: keras.Model, blocks: list[Any]) -> list[list[Any]]:
    """Return the trainable variables in groups: the head's, then each block's from the output.

    Variables of the network that are in no block, such as those of its first layers, come last.

    Args:
        head: What the head built.
        network: What the backbone built, unfrozen.
        blocks: The groups of layers that ``Backbone.blocks()`` returned.
    """
    groups = [list(head.trainable_variables)]
    seen: set[int] = set()
    for block in reversed(blocks):
        variables = [item for layer in block for item in layer.trainable_variables]
        fresh = [item for item in variables if id(item) not in seen]
        seen.update(map(id, fresh))
        if fresh:
            groups.append(fresh)
    rest = [item for item in network.trainable_variables if id(item) not in seen]
    return [*groups, rest] if rest else groups


@contextmanager
def computing_in(policy: str, network: keras.Model) -> Iterator[None]:
    """Let a network compute under a Keras dtype policy for a while; its weights stay float32.

    Args:
        policy: ``"float32"`` or ``"mixed_bfloat16"``, which needs no scaling of the loss.
        network: What the backbone built.
    """
    import keras

    leaves = [layer for layer in _leaves(network) if layer.dtype_policy.name != policy]
    before = [layer.dtype_policy for layer in leaves]
    for layer in leaves:
        layer.dtype_policy = keras.DTypePolicy(policy)
    try:
        yield
    finally:
        for layer, old in zip(leaves, before, strict=True):
            layer.dtype_policy = old


def batch_normalisation_state(network: keras.Model) -> list[Any]:
    """Return copies of all arrays of all BatchNormalization layers, in order."""
    import keras

    return [
        weight.numpy().copy()
        for layer in _leaves(network)
        if isinstance(layer, keras.layers.BatchNormalization)
        for weight in layer.weights
    ]


@contextmanager
def normalisation_held_still(backbone: Backbone, network: keras.Model) -> Iterator[None]:
    """Check that training a network leaves its batch normalisation as it was.

    Args:
        backbone: What built the network.
        network: What it built.

    Raises:
        PluginError: If it does not.
    """
    before = batch_normalisation_state(network)
    yield
    after = batch_normalisation_state(network)
    if not all(np.array_equal(old, new) for old, new in zip(before, after, strict=True)):
        raise PluginError(
            f"{describe_plugin(backbone)}: its batch normalisation moved in fine-tuning; it must "
            f"stay as pretrained. Does its build() return plain Keras layers?"
        )


def _leaves(layer: Any) -> Iterator[Any]:
    """Yield the layers without layers inside: of models, and of layers made of others."""
    # Keras has no public name for what a layer that is no model holds.
    inner = layer._flatten_layers(include_self=False, recursive=False)
    if not inner:
        yield layer
    for item in inner:
        yield from _leaves(item)
