"""Assembling backbone and head into one model; freezing and unfreezing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tlkit.backbone import Backbone
from tlkit.errors import ConfigError, PluginError
from tlkit.head import Head
from tlkit.plugin import Plugin
from tlkit.plugin_calls import describe_plugin, plugin_call
from tlkit.test_time_augmentation import PLAIN, FixedView

if TYPE_CHECKING:
    import keras

RESIZE_LAYER, TEMPERATURE_LAYER = "resize", "temperature"


@dataclass
class Trunk:
    """What stands before a head, and can stand before another one of the same pooling.

    Attributes:
        network: What the backbone built.
        resize: Pixels of any size to (N, image_size, image_size, 3).
        features: Resized pixels to what the head receives of one view.
        digest: What ``digest_model()`` returned, while the network is as it was built; else empty.
    """

    network: keras.Model
    resize: keras.layers.Layer
    features: keras.Model
    digest: str = ""


@dataclass(frozen=True)
class AssembledModel:
    """The views of one network; all share their layers.

    Attributes:
        trunk: What stands before the head.
        head: What the head built.
    """

    trunk: Trunk
    head: keras.Model
    _join: Callable[[], tuple[keras.Model, keras.Model]]

    @property
    def features(self) -> keras.Model:
        """Resized pixels (N, image_size, image_size, 3) to what the head receives of one view.

        The feature store runs this one.
        """
        return self.trunk.features

    @property
    def resize(self) -> keras.layers.Layer:
        """Pixels of any size to (N, image_size, image_size, 3)."""
        return self.trunk.resize

    @property
    def backbone(self) -> keras.Model:
        """What the backbone built."""
        return self.trunk.network

    @property
    def model(self) -> keras.Model:
        """What is saved: pixels to probabilities (N, number of classes).

        The pixels are RGB, 0 to 255, float32 or uint8 (N, any, any, 3).
        """
        return self._joined[0]

    @property
    def logits(self) -> keras.Model:
        """The same up to the logits."""
        return self._joined[1]

    @cached_property
    def _joined(self) -> tuple[keras.Model, keras.Model]:
        return self._join()


def assemble(
    backbone: Backbone,
    head: Head,
    num_classes: int,
    *,
    network: keras.Model | None = None,
    classifier: keras.Model | None = None,
    views: Sequence[FixedView] = (PLAIN,),
    trunk: Trunk | None = None,
) -> AssembledModel:
    """Join a backbone and a head; the backbone comes frozen.

    Args:
        backbone: The backbone.
        head: The head.
        num_classes: Number of classes, 2 or more.
        network: What ``backbone.build()`` returned, if it was built already.
        classifier: What the head built, if it was built already.
        views: The views of each image whose logits are averaged.
        trunk: That of an earlier model of this backbone and pooling. The whole network, which costs
            most of the time and which a head on stored features does without, is then joined when
            it is first asked for.

    Raises:
        PluginError: If one of them built something of the wrong shape.
    """
    joins_now = trunk is None
    if trunk is None:
        trunk = _make_trunk(backbone, head, network)
    freeze(trunk.network)
    shape = tuple(trunk.features.output_shape[1:])
    if classifier is None:
        with plugin_call(head, "build()"):
            classifier = head.build(shape, num_classes)
    check_classifier(head, classifier, shape, num_classes)
    model = AssembledModel(
        trunk, classifier, lambda: _join(backbone, head, num_classes, trunk, classifier, views)
    )
    if joins_now:
        _ = model.model
    return model


def _make_trunk(backbone: Backbone, head: Head, network: keras.Model | None) -> Trunk:
    import keras

    if network is None:
        network = build_backbone(backbone)
    freeze(network)
    size = backbone.image_size
    resized = keras.Input((size, size, 3), name="resized")
    # Antialiasing changes nothing for images that are enlarged, and large photographs need it.
    resize = keras.layers.Resizing(
        size, size, interpolation=backbone.interpolation, antialias=True, name=RESIZE_LAYER
    )
    pooling = pool(head)
    maps = run_backbone(backbone, network, resized)
    _check_maps(backbone, maps)
    return Trunk(network, resize, keras.Model(resized, pooling(maps) if pooling else maps))


def _join(
    backbone: Backbone,
    head: Head,
    num_classes: int,
    trunk: Trunk,
    classifier: keras.Model,
    views: Sequence[FixedView],
) -> tuple[keras.Model, keras.Model]:
    """Return the whole network, from pixels to probabilities and to logits."""
    import keras

    pixels = keras.Input((None, None, 3), name="pixels")
    # Keras' resizing layer takes training=True by itself, and hands it on to the dropout after it:
    # whoever called the saved model without a word on training got answers with dropout.
    image = trunk.resize(pixels, training=False)
    looks = [view.of(image, backbone.interpolation) for view in views]
    # One call for all views: some preprocess() make layers whose names may be there once only.
    batch = keras.ops.concatenate(looks, axis=0) if len(looks) > 1 else image
    pooling = pool(head)
    maps = run_backbone(backbone, trunk.network, batch)
    logits = classifier(pooling(maps) if pooling else maps)
    if len(looks) > 1:
        logits = keras.ops.mean(keras.ops.reshape(logits, (len(looks), -1, num_classes)), axis=0)
    probabilities = keras.layers.Softmax(name="probabilities")(logits)
    model = keras.Model(pixels, probabilities, name=f"{backbone.name}_{head.name}")
    return model, keras.Model(pixels, logits)


def build_backbone(backbone: Backbone) -> keras.Model:
    """Return what a backbone builds.

    Raises:
        PluginError: If that is no model, or building it fails.
    """
    with plugin_call(backbone, "build()"):
        network = backbone.build()
    _check_model(backbone, "build()", network)
    return network


def run_backbone(backbone: Backbone, network: keras.Model, pixels: Any) -> Any:
    """Return what a network makes of preprocessed pixels; both may be symbolic.

    Raises:
        PluginError: If ``preprocess()`` or the network fails.
    """
    with plugin_call(backbone, "preprocess()"):
        images = backbone.preprocess(pixels)
    with plugin_call(backbone, "the network that build() returned"):
        return network(images)


def check_classifier(
    head: Head, classifier: Any, feature_shape: tuple[int, ...], num_classes: int
) -> None:
    """Check what a head built, or solved.

    Args:
        head: The head.
        classifier: What its method returned.
        feature_shape: Shape of one image's features.
        num_classes: Number of classes.

    Raises:
        PluginError: If that is no model from features to logits.
    """
    check_logits_shape(head, classifier, feature_shape, num_classes)
    check_logits_are_no_probabilities(head, classifier, feature_shape)


def check_logits_shape(
    head: Head, classifier: Any, feature_shape: tuple[int, ...], num_classes: int
) -> None:
    """Check that a head made a model from features to one number for each class.

    The arguments are those of ``check_classifier()``.

    Raises:
        PluginError: If it did not.
    """
    _check_model(head, "build()", classifier)
    with plugin_call(head, "the network that build() returned"):
        shape = classifier.compute_output_shape((None, *feature_shape))
    if not isinstance(shape, tuple) or tuple(shape) != (None, num_classes):
        raise PluginError(
            f"{describe_plugin(head)} built a model with output shape {shape}; "
            f"allowed: logits (N, {num_classes}), one for each class."
        )


def check_logits_are_no_probabilities(
    head: Head, classifier: Any, feature_shape: tuple[int, ...]
) -> None:
    """Check that a head's model has no softmax at its end.

    The arguments are those of ``check_classifier()``.

    Raises:
        PluginError: If it has one.
    """
    import keras

    # Any softmax shows in its values, however it is written.
    probe = np.random.default_rng(0).normal(size=(4, *feature_shape)).astype(np.float32)
    with plugin_call(head, "the network that build() returned"):
        found = keras.ops.convert_to_numpy(classifier(probe, training=False))
    if found.min() >= 0 and np.allclose(found.sum(axis=1), 1, atol=1e-3):
        raise PluginError(
            f"{describe_plugin(head)} built a model that gives probabilities; allowed: logits. "
            f"Leave the softmax at its end off: the loss and the saved model have their own."
        )


def _check_model(plugin: Plugin, method: str, found: Any) -> None:
    import keras

    if not isinstance(found, keras.Model):
        raise PluginError(
            f"{describe_plugin(plugin)} returned {_describe(found)} from {method}; allowed: a "
            f"keras.Model."
        )


def _describe(found: Any) -> str:
    name = f"{type(found).__module__}.{type(found).__qualname__}"
    return "None" if found is None else f"an object of {name}"


def _check_maps(backbone: Backbone, maps: Any) -> None:
    """Check what a backbone gives, by its shape and number type."""
    shape = getattr(maps, "shape", None)
    who = describe_plugin(backbone)
    if shape is None:
        raise PluginError(f"{who} built a model with several outputs; allowed: one.")
    if len(shape) == 2:
        raise PluginError(
            f"{who} built a model with output shape {tuple(shape)}, as one whose classification "
            f"top is still on; allowed: feature maps (N, height, width, channels). Leave its top "
            f"off: include_top=False, and no pooling."
        )
    if len(shape) != 4 or shape[0] is not None or shape[-1] is None:
        raise PluginError(
            f"{who} built a model with output shape {tuple(shape)}; allowed: feature maps (N, "
            f"height, width, channels), for any number N of images."
        )
    if maps.dtype != "float32":
        raise PluginError(
            f"{who} built a model that gives {maps.dtype}; allowed: float32. Does it set Keras' "
            f"dtype policy? Build it under 'float32'."
        )


def with_temperature(model: AssembledModel, temperature: float) -> keras.Model:
    """Return ``model.model`` with the logits divided by a temperature before the softmax.

    Args:
        model: The assembled network; its layers are shared.
        temperature: Above 0; see ``tlkit.calibration.fit_temperature()``.
    """
    import keras

    scale = keras.layers.Rescaling(1 / temperature, name=TEMPERATURE_LAYER)
    probabilities = keras.layers.Softmax(name="probabilities")(scale(model.logits.output))
    return keras.Model(model.model.input, probabilities, name=model.model.name)


def pool(head: Head) -> Any:
    """Return the layer that pools feature maps for a head; None where it takes the maps."""
    import keras

    if head.pooling is None:
        return None
    layers = {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}
    if head.pooling not in layers:
        raise PluginError(
            f"{describe_plugin(head)} asks for pooling {head.pooling!r}; allowed: 'avg', 'max', "
            f"None."
        )
    return layers[head.pooling](name="pool")


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


def fits_h5(model: keras.Model) -> bool:
    """Return whether Keras can read the model back from the .h5 format.

    Bare operations, such as ``x + 3.0`` between layers in MobileNetV3, are written and then not
    understood. Weights are written in an order that depends on what is frozen inside, which a
    network that is built from a config of its own does not record: they would be mixed up.
    """
    import keras

    return all(
        isinstance(operation, keras.layers.Layer)
        and (
            not isinstance(operation, keras.Model)
            or (is_built_of_named_layers(operation) and fits_h5(operation))
        )
        for operation in getattr(model, "operations", ())
    )


def is_built_of_named_layers(model: keras.Model) -> bool:
    """Return whether a model's config lists its layers, as those of Keras' own classes do.

    Networks of other libraries, such as KerasHub's, keep a config of their own instead.
    """
    return str(type(model).get_config.__module__).split(".")[0] == "keras"


def count_parameters(model: keras.Model) -> tuple[int, int]:
    """Return the numbers of trainable and of frozen parameters."""
    trainable = sum(int(weight.value.shape.num_elements()) for weight in model.trainable_weights)
    frozen = sum(int(weight.value.shape.num_elements()) for weight in model.non_trainable_weights)
    return trainable, frozen


def _leaves(layer: Any) -> Iterator[Any]:
    """Yield the layers without layers inside: of models, and of layers made of others."""
    # Keras has no public name for what a layer that is no model holds.
    inner = layer._flatten_layers(include_self=False, recursive=False)
    if not inner:
        yield layer
    for item in inner:
        yield from _leaves(item)
