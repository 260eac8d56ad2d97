"""The prototype head: the nearest class mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tlkit import ClosedFormHead, ConfigError, LabelledFeatures

if TYPE_CHECKING:
    import keras

SCALES = tuple(2.0**power for power in range(9))
_NEVER = -1e4


class Prototype(ClosedFormHead):
    """The nearest class mean of normalised features, for few images of each class."""

    name: ClassVar[str] = "prototype"

    def __init__(self, scale: float | None = None, pooling: Literal["avg", "max"] = "avg") -> None:
        """Set how distances become probabilities.

        The logits are minus the squared distances of the image's features to the class means, times
        the scale (Snell et al. 2017); features have length 1 before means are taken. The scale
        changes no prediction, only how sure it is.

        Args:
            scale: Above 0; by default the power of two from 1 to 256 with the lowest cross-entropy
                on the validation images.
            pooling: How feature maps become a vector.

        Raises:
            ConfigError: If the scale is not above 0.
        """
        if scale is not None and not 0 < scale < float("inf"):
            raise ConfigError(f"[head] scale = {scale} is not allowed: above 0.")
        self.scale, self.pooling = scale, pooling
        self.chooses = scale is None

    def build(self, feature_shape: tuple[int, ...], num_classes: int) -> keras.Model:
        """Build a normalisation and a dense layer, which squared distances come down to."""
        import keras

        inputs = keras.Input(feature_shape)
        x = keras.layers.UnitNormalization(name="unit_length")(inputs)
        logits = keras.layers.Dense(num_classes, name="logits")(x)
        return keras.Model(inputs, logits, name=self.name)

    def solve(
        self, train: LabelledFeatures, validation: LabelledFeatures, class_weight: Any
    ) -> tuple[keras.Model, Mapping[str, Any]]:
        """Take the class means; class weights change nothing."""
        import numpy as np
        from sklearn.metrics import log_loss
        from sklearn.preprocessing import normalize

        features, held_out = normalize(train.features), normalize(validation.features)
        means = np.zeros((train.num_classes, features.shape[1]))
        present = np.unique(train.labels)
        for label in present:
            means[label] = features[train.labels == label].mean(axis=0)
        # -|x - m|^2 = 2 m.x - |m|^2 - |x|^2, and |x|^2 is the same for all classes.
        weights, bias = 2 * means.T, -np.square(means).sum(axis=1)
        bias[~np.isin(np.arange(train.num_classes), present)] = _NEVER
        scale = self.scale
        if scale is None:
            similarities = held_out @ weights + bias
            classes = np.arange(train.num_classes)

            def loss(candidate: float) -> float:
                from scipy.special import softmax

                probabilities = softmax(candidate * similarities, axis=1)
                return float(log_loss(validation.labels, probabilities, labels=classes))

            scale = min(SCALES, key=loss)
        model = self.build(train.features.shape[1:], train.num_classes)
        model.get_layer("logits").set_weights([scale * weights, scale * bias])
        return model, {"scale": scale}
