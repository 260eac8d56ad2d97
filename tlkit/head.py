"""Head: the classifier on top of a backbone's features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tlkit.plugin import Plugin
from tlkit.records import LabelledFeatures

if TYPE_CHECKING:
    import keras

Pooling = Literal["avg", "max"]


class Head(Plugin, ABC):
    """A small network from features to logits.

    Attributes:
        pooling: How feature maps become one vector for each image before the head sees them:
            ``"avg"``, ``"max"``, or None for a head that wants the maps themselves. It has no
            parameters, so pooled features can be stored; a head with None stores whole maps.
    """

    kind: ClassVar[str] = "head"
    pooling: Pooling | None = "avg"

    @abstractmethod
    def build(self, feature_shape: tuple[int, ...], num_classes: int) -> keras.Model:
        """Build the head with fresh weights.

        Args:
            feature_shape: Shape of one image's features: (channels,) after pooling, or (height,
                width, channels) without.
            num_classes: Number of classes.

        Returns:
            A model from float32 (N, *feature_shape) to logits, float32 (N, num_classes). No
            softmax: the Trainer's loss takes logits, and the saved model gets its softmax there.
        """


class ClosedFormHead(Head):
    """A head whose weights are computed from stored features, without gradient steps.

    ``build()`` gives a network of the final kind, before its weights are known.

    Attributes:
        chooses: Whether ``solve()`` chooses something by the validation images. It is not called
            then where these are the test images.
    """

    chooses: bool = False

    @abstractmethod
    def solve(
        self, train: LabelledFeatures, validation: LabelledFeatures, class_weight: Any
    ) -> tuple[keras.Model, Mapping[str, Any]]:
        """Compute the head.

        Args:
            train: What to learn from; with augmented views, their features too.
            validation: What to choose settings by.
            class_weight: A factor for each class, float64 (number of classes,), or None.

        Returns:
            A model like that of ``build()``, and what was chosen, such as ``{"C": 0.01}``.
        """
