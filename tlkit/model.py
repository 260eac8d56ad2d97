"""Assembling backbone and head into one model, from pixels to probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tlkit.backbone import Backbone
from tlkit.errors import PluginError
from tlkit.freezing import freeze
from tlkit.head import Head
from tlkit.network_checks import check_classifier, check_maps, check_model
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
    check_maps(backbone, maps)
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
    check_model(backbone, "build()", network)
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
