"""Checks of the networks that backbones and heads build."""

from __future__ import annotations

from typing import Any

import numpy as np

from tlkit.backbone import Backbone
from tlkit.errors import PluginError
from tlkit.head import Head
from tlkit.plugin import Plugin
from tlkit.plugin_calls import describe_plugin, plugin_call


def check_model(plugin: Plugin, method: str, found: Any) -> None:
    """Check that a plugin returned a Keras model.

    Args:
        plugin: The backbone or head.
        method: The method that returned it, as messages name it.
        found: What it returned.

    Raises:
        PluginError: If it is something else.
    """
    import keras

    if not isinstance(found, keras.Model):
        raise PluginError(
            f"{describe_plugin(plugin)} returned {_describe(found)} from {method}; allowed: a "
            f"keras.Model."
        )


def check_maps(backbone: Backbone, maps: Any) -> None:
    """Check what a backbone gives, by its shape and number type.

    Args:
        backbone: The backbone.
        maps: What its network makes of symbolic pixels.

    Raises:
        PluginError: If these are no float32 feature maps.
    """
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
    check_model(head, "build()", classifier)
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


def _describe(found: Any) -> str:
    name = f"{type(found).__module__}.{type(found).__qualname__}"
    return "None" if found is None else f"an object of {name}"
