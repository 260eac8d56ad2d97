"""Head: the classifier on top of a backbone's features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from tlkit.plugin import Plugin

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
