"""The knn head: a vote of the most similar training images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tlkit import ClosedFormHead, ConfigError, LabelledFeatures

if TYPE_CHECKING:
    import keras
    import numpy as np

NEIGHBOURS = (1, 3, 5, 10, 20, 50, 100)
_ROWS_AT_ONCE = 1024
# Keeps the logarithm of a class without a vote finite.
_LEAST_SHARE = 1e-6


class KNN(ClosedFormHead):
    """A vote of the most similar training images; the saved model holds their features."""

    name: ClassVar[str] = "knn"

    def __init__(
        self,
        k: int | None = None,
        temperature: float = 0.07,
        pooling: Literal["avg", "max"] = "avg",
    ) -> None:
        """Set the vote.

        Similarity is the cosine of two images' features. Each neighbour's vote weighs
        exp(similarity / temperature), as in Wu et al. 2018, section 3.4.

        Args:
            k: Number of neighbours, 1 or more; by default the one of 1, 3, 5, 10, 20, 50 and 100
                with the most right answers on the validation images.
            temperature: Above 0; a small one lets the nearest neighbours decide.
            pooling: How feature maps become a vector.

        Raises:
            ConfigError: If a number is out of range.
        """
        if k is not None and k < 1:
            raise ConfigError(f"[head] k = {k} is not allowed: 1 or more.")
        if not 0 < temperature < float("inf"):
            raise ConfigError(f"[head] temperature = {temperature} is not allowed: above 0.")
        self.k, self.temperature, self.pooling = k, temperature, pooling
        self.chooses = k is None

    def build(self, feature_shape: tuple[int, ...], num_classes: int) -> keras.Model:
        """Build it for as many training images as neighbours."""
        count = self.k if self.k is not None else 1
        return self._build(feature_shape, num_classes, count, count)

    def _build(
        self, feature_shape: tuple[int, ...], num_classes: int, count: int, k: int
    ) -> keras.Model:
        import keras

        inputs = keras.Input(feature_shape)
        x = keras.layers.UnitNormalization(name="unit_length")(inputs)
        stored = keras.layers.Dense(count, use_bias=False, trainable=False, name="similarities")
        similarities, nearest = keras.ops.top_k(stored(x), k)
        classes = keras.layers.Embedding(count, num_classes, trainable=False, name="classes")
        shares = classes(nearest)
        if k > 1:  # a softmax over one value makes Keras warn
            scaled = keras.layers.Rescaling(1 / self.temperature, name="scale")(similarities)
            votes = keras.layers.Reshape((1, k))(keras.layers.Softmax(name="votes")(scaled))
            shares = keras.ops.matmul(votes, shares)
        shares = keras.layers.Reshape((num_classes,))(shares)
        return keras.Model(inputs, keras.ops.log(shares + _LEAST_SHARE), name=self.name)

    def solve(
        self, train: LabelledFeatures, validation: LabelledFeatures, class_weight: Any
    ) -> tuple[keras.Model, Mapping[str, Any]]:
        """Keep the training images' features; class weights multiply the votes."""
        import numpy as np
        from sklearn.preprocessing import normalize

        features = normalize(train.features)
        weights = np.ones(train.num_classes) if class_weight is None else np.asarray(class_weight)
        votes = np.eye(train.num_classes)[train.labels] * weights
        allowed = [k for k in NEIGHBOURS if k <= len(features)]
        k = min(self.k, len(features)) if self.k is not None else allowed[0]
        if self.k is None and len(allowed) > 1:
            right = self._right_answers(features, votes, validation, allowed)
            k = allowed[int(np.argmax(right))]
        model = self._build(train.features.shape[1:], train.num_classes, len(features), k)
        model.get_layer("similarities").set_weights([features.T])
        model.get_layer("classes").set_weights([votes])
        return model, {"k": k}

    def _right_answers(
        self,
        features: np.ndarray,
        votes: np.ndarray,
        validation: LabelledFeatures,
        candidates: list[int],
    ) -> list[int]:
        """Return the number of right answers on the validation images for each k."""
        import numpy as np
        from sklearn.preprocessing import normalize

        right = [0] * len(candidates)
        most = max(candidates)
        for first in range(0, len(validation.labels), _ROWS_AT_ONCE):
            rows = slice(first, first + _ROWS_AT_ONCE)
            similarities = normalize(validation.features[rows]) @ features.T
            nearest = np.argpartition(-similarities, most - 1, axis=1)[:, :most]
            found = np.take_along_axis(similarities, nearest, axis=1)
            order = np.argsort(-found, axis=1)
            nearest = np.take_along_axis(nearest, order, axis=1)
            found = np.take_along_axis(found, order, axis=1)
            shares = np.exp((found - found[:, :1]) / self.temperature)[..., None] * votes[nearest]
            for number, k in enumerate(candidates):
                answers = shares[:, :k].sum(axis=1).argmax(axis=1)
                right[number] += int(np.sum(answers == validation.labels[rows]))
        return right
