"""The EfficientNet-Lite network in Keras.

EfficientNet (Tan and Le, 2019, arXiv:1905.11946) without squeeze-and-excitation and with ReLU6,
as in ``efficientnet_lite_builder.py`` of tensorflow/tpu: the channels of the stem and the head, and
the repeats of the first and the last stage, are not scaled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tlkit import WeightsError

if TYPE_CHECKING:
    import keras

BATCH_NORM_EPSILON = 1e-3
STEM_CHANNELS, HEAD_CHANNELS = 32, 1280


@dataclass(frozen=True)
class Stage:
    """A row of inverted residual blocks of the unscaled network."""

    kernel: int
    stride: int
    expansion: int
    channels: int
    repeats: int


@dataclass(frozen=True)
class Block:
    """One inverted residual block."""

    kernel: int
    stride: int
    expansion: int
    inputs: int
    outputs: int


STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)


def make_blocks(width: float, depth: float) -> list[Block]:
    """Return the blocks of a variant.

    Args:
        width: Factor of the channels, which are then rounded to multiples of 8.
        depth: Factor of the repeats, which are then rounded up.
    """
    blocks = []
    channels = STEM_CHANNELS
    for number, stage in enumerate(STAGES):
        fixed = number in (0, len(STAGES) - 1)
        repeats = stage.repeats if fixed else math.ceil(depth * stage.repeats)
        outputs = round_channels(width * stage.channels)
        for repeat in range(repeats):
            stride = stage.stride if repeat == 0 else 1
            blocks.append(Block(stage.kernel, stride, stage.expansion, channels, outputs))
            channels = outputs
    return blocks


def round_channels(channels: float, divisor: int = 8) -> int:
    """Round to the nearest multiple of ``divisor``, but not down by more than a tenth."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def build_network(blocks: list[Block], image_size: int, name: str) -> keras.Model:
    """Build the network without its top, with random weights.

    Args:
        blocks: What ``make_blocks`` returned.
        image_size: Side of the square input in pixels.
        name: Name of the model.

    Returns:
        A model from float32 (N, image_size, image_size, 3) to float32 (N, h, w, 1280).
    """
    import keras

    inputs = keras.Input((image_size, image_size, 3))
    stem = keras.layers.Conv2D(
        STEM_CHANNELS, 3, strides=2, padding="same", use_bias=False, name="stem_conv"
    )
    x = _normalise(stem(inputs), "stem", active=True)
    for number, block in enumerate(blocks):
        x = _add_block(x, block, f"block_{number}")
    head = keras.layers.Conv2D(HEAD_CHANNELS, 1, use_bias=False, name="head_conv")
    return keras.Model(inputs, _normalise(head(x), "head", active=True), name=name)


def _add_block(inputs: Any, block: Block, prefix: str) -> Any:
    import keras

    x = inputs
    if block.expansion != 1:
        channels = block.inputs * block.expansion
        expand = keras.layers.Conv2D(channels, 1, use_bias=False, name=f"{prefix}_expand_conv")
        x = _normalise(expand(x), f"{prefix}_expand", active=True)
    depthwise = keras.layers.DepthwiseConv2D(
        block.kernel,
        strides=block.stride,
        padding="same",
        use_bias=False,
        name=f"{prefix}_depthwise_conv",
    )
    x = _normalise(depthwise(x), f"{prefix}_depthwise", active=True)
    project = keras.layers.Conv2D(block.outputs, 1, use_bias=False, name=f"{prefix}_project_conv")
    x = _normalise(project(x), f"{prefix}_project", active=False)
    if block.stride == 1 and block.inputs == block.outputs:
        x = keras.layers.Add(name=f"{prefix}_add")([inputs, x])
    return x


def _normalise(x: Any, prefix: str, *, active: bool) -> Any:
    import keras

    x = keras.layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, name=f"{prefix}_norm")(x)
    return keras.layers.ReLU(6.0, name=f"{prefix}_relu6")(x) if active else x


def load_weights(model: keras.Model, state: Mapping[str, NDArray[Any]]) -> None:
    """Copy a torch state dict into the network; the classifier's entries are not needed.

    Args:
        model: What ``build_network`` returned.
        state: What ``read_torch_state_dict`` returned.

    Raises:
        WeightsError: If an entry is missing, of the wrong shape, or left over.
    """
    used: set[str] = set()

    def take(name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        value = state.get(name)
        if value is None or value.shape != shape:
            found = "nothing" if value is None else f"shape {value.shape}"
            raise WeightsError(f"The weights do not fit: '{name}' has {found}; needed: {shape}.")
        used.add(name)
        return value

    for layer in model.layers:
        if not layer.weights:
            continue
        source = _source_name(layer.name)
        if layer.name.endswith("_norm"):
            shape = tuple(layer.gamma.shape)
            parts = ("weight", "bias", "running_mean", "running_var")
            layer.set_weights([take(f"{source}.{part}", shape) for part in parts])
            continue
        # torch: (out, in, height, width); Keras: (height, width, in, out), and for a depthwise
        # kernel (height, width, channels, 1), where torch has (channels, 1, height, width).
        order = (2, 3, 0, 1) if "depthwise" in layer.name else (2, 3, 1, 0)
        shape = tuple(layer.weights[0].shape)
        torch_shape = tuple(shape[order.index(axis)] for axis in range(4))
        layer.set_weights([np.transpose(take(f"{source}.weight", torch_shape), order)])
    left = [
        name
        for name in state
        if name not in used and not name.startswith("_fc.") and "num_batches" not in name
    ]
    if left:
        raise WeightsError(f"The weights do not fit: '{left[0]}' belongs to no layer.")


def _source_name(layer_name: str) -> str:
    """Return the torch name of a layer, such as ``_blocks.3._bn1`` for block_3_depthwise_norm."""
    *prefix, part, kind = layer_name.split("_")
    if part in ("stem", "head"):
        return f"_conv_{part}" if kind == "conv" else {"stem": "_bn0", "head": "_bn1"}[part]
    norms = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}
    return f"_blocks.{prefix[-1]}.{f'_{part}_conv' if kind == 'conv' else norms[part]}"
