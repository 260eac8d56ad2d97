"""Losses: cross-entropy with label smoothing and class weights; mixing of images and labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tlkit.errors import ConfigError
from tlkit.records import Int64Array

ClassWeight = Literal["none", "balanced"] | Mapping[str, float]


@dataclass(frozen=True)
class Objective:
    """What training minimises; the figures that are reported stay plain accuracy and this loss.

    Attributes:
        num_classes: Number of classes.
        label_smoothing: The share of a label that is spread evenly over all classes, 0 to below 1
            (Szegedy et al. 2016, section 7).
        class_weight: A factor of the loss for each class, or None for 1.
        mixup: The two equal parameters of the beta distribution that pairs of images are blended
            by; 0 for no blending (Zhang et al. 2018).
        cutmix: The same for the area of a patch that one image takes over from another; 0 for none
            (Yun et al. 2019). With both, each batch takes one of them at random.
        seed: Seed of the mixing.
    """

    num_classes: int
    label_smoothing: float = 0.0
    class_weight: tuple[float, ...] | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    seed: int = 0

    @property
    def plain(self) -> bool:
        """Whether it is cross-entropy and nothing else."""
        return not (self.label_smoothing or self.mixup or self.cutmix or self.class_weight)

    def losses(self, targets: Any, logits: Any) -> Any:
        """Return the loss of each image, float32 (N,).

        Args:
            targets: Shares of the classes, float32 (N, number of classes), rows sum to 1.
            logits: float32 (N, number of classes).
        """
        import tensorflow as tf

        smooth = self.label_smoothing
        smoothed = targets * (1 - smooth) + smooth / self.num_classes
        losses = tf.nn.softmax_cross_entropy_with_logits(smoothed, logits)
        if self.class_weight is not None:
            losses *= tf.linalg.matvec(targets, tf.constant(self.class_weight, tf.float32))
        return losses

    def mixing(self) -> tuple[Callable[[Any, Any], tuple[Any, Any]] | None, list[Any]]:
        """Return a function from (images, targets) to both mixed, and what it draws by.

        The function is None where nothing is mixed; it is to be called while TensorFlow traces. The
        ``keras.Variable`` objects hold the state of its random generators.
        """
        import keras
        import tensorflow as tf

        layers = []
        if self.mixup:
            layers.append(keras.layers.MixUp(self.mixup, seed=self.seed))
        if self.cutmix:
            layers.append(keras.layers.CutMix(self.cutmix, seed=self.seed + 1))
        if not layers:
            return None, []
        coin = keras.random.SeedGenerator(self.seed + 2)

        def apply(layer: Any, images: Any, targets: Any) -> tuple[Any, Any]:
            mixed = layer({"images": images, "labels": targets}, training=True)
            return (
                tf.ensure_shape(mixed["images"], images.shape),
                tf.ensure_shape(mixed["labels"], targets.shape),
            )

        def mix(images: Any, targets: Any) -> tuple[Any, Any]:
            if len(layers) == 1:
                return apply(layers[0], images, targets)
            first = keras.random.uniform((), seed=coin) < 0.5
            mixed: tuple[Any, Any] = tf.cond(
                first,
                lambda: apply(layers[0], images, targets),
                lambda: apply(layers[1], images, targets),
            )
            return mixed

        return mix, [coin.state, *(state for layer in layers for state in layer.variables)]


def class_weights(
    wanted: ClassWeight, labels: Int64Array, class_names: tuple[str, ...]
) -> tuple[float, ...] | None:
    """Return a factor for each class.

    Args:
        wanted: ``"none"``; ``"balanced"`` for factors in inverse proportion to the number of
            training images, as scikit-learn computes them; or factors by class name, 1 for the
            classes that are not named.
        labels: The labels that are trained on, int64 (N,).
        class_names: The class names in the order of the labels.

    Raises:
        ConfigError: If a name is not that of a class, or a factor is not above 0.
    """
    if wanted == "none":
        return None
    weights = np.ones(len(class_names))
    if isinstance(wanted, Mapping):
        wrong = [f"{name} = {value}" for name, value in wanted.items() if not 0 < value < math.inf]
        if wrong:
            raise ConfigError(f"[workflow] class_weight: {wrong[0]} is not allowed: above 0.")
        for name, weight in wanted.items():
            if name not in class_names:
                raise ConfigError(
                    f"[workflow] class_weight names '{name}', which is no class. Classes: "
                    f"{', '.join(class_names[:20])}{' ...' if len(class_names) > 20 else ''}."
                )
            weights[class_names.index(name)] = weight
    else:
        from sklearn.utils.class_weight import compute_class_weight

        present = np.unique(labels)
        weights[present] = compute_class_weight("balanced", classes=present, y=labels)
    return tuple(float(weight) for weight in weights)
