"""Backbone: a pretrained network without its top, and the pixels that it wants."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from tlkit.plugin import Plugin

if TYPE_CHECKING:
    import keras


class Backbone(Plugin, ABC):
    """A network that turns a batch of images into a batch of feature maps.

    A subclass sets ``name`` and writes ``build()``; most also write ``preprocess()``. Its
    constructor's keywords are the keys that a config may set. Import Keras inside methods, so that
    listing plugins stays instant.

    Attributes:
        image_size: Side in pixels to which tlkit resizes every image before ``preprocess``.
        weights: Where the weights come from: ``"imagenet"``, another name that the backbone knows,
            the path of a weights file, or ``"random"``.
        interpolation: How images are resized; see ``keras.layers.Resizing``.
    """

    kind: ClassVar[str] = "backbone"
    interpolation: str = "bilinear"

    def __init__(self, image_size: int = 96, weights: str = "imagenet") -> None:
        """Keep the settings; nothing is loaded before ``build()``.

        Args:
            image_size: Side of the square input, in pixels.
            weights: Where the weights come from.
        """
        self.image_size = image_size
        self.weights = weights

    @abstractmethod
    def build(self) -> keras.Model:
        """Build the network with its weights loaded and without a top.

        Returns:
            A model from preprocessed images, float32 (N, image_size, image_size, 3), to feature
            maps, float32 (N, height, width, channels).

        Raises:
            WeightsError: If the weights cannot be had.
        """

    def preprocess(self, images: Any) -> Any:
        """Bring pixels into the range that the weights were trained on.

        This becomes part of the saved model, so it must be made of Keras layers without state that
        is trained: ``keras.layers.Rescaling``, ``keras.layers.Normalization(mean=, variance=)``.

        Args:
            images: float32 tensor (N, image_size, image_size, 3), RGB, values 0 to 255. It must
                not be changed in place.

        Returns:
            A float32 tensor of the same shape. The default is the images as they are.
        """
        return images

    def blocks(self, model: keras.Model) -> list[list[keras.layers.Layer]]:
        """Group the layers of the built network into the blocks that fine-tuning unfreezes.

        Args:
            model: What ``build()`` returned.

        Returns:
            The blocks from input to output. The default is one block for each layer with weights.
        """
        return [[layer] for layer in model.layers if layer.weights]
