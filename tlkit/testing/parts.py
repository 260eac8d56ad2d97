"""Small plugins and images that a plugin under test is run with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tlkit.backbone import Backbone
from tlkit.dataset import DatasetSource
from tlkit.head import Head
from tlkit.records import ImageData, Int64Array, Split, UInt8Array

if TYPE_CHECKING:
    from tlkit.trainer import Trainer

CLASS_NAMES = ("red", "green", "blue")
NUM_CLASSES = len(CLASS_NAMES)


def coloured_images(count: int, size: int, seed: int) -> tuple[UInt8Array, Int64Array]:
    """Return noise that is brighter in one of three colours, and which.

    Returns:
        uint8 array (count, size, size, 3) and int64 array (count,).
    """
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % NUM_CLASSES
    images = generator.integers(0, 120, (count, size, size, 3))
    images[np.arange(count), :, :, labels] += 100
    return images.astype(np.uint8), labels.astype(np.int64)


class SmallBackbone(Backbone):
    """Two convolutions with batch normalisation and random weights."""

    name: ClassVar[str] = "small"

    def __init__(self, image_size: int = 16) -> None:
        super().__init__(image_size, "random")

    def build(self) -> Any:
        """Build the network."""
        import keras

        x = inputs = keras.Input((self.image_size, self.image_size, 3))
        for width in (8, 16):
            x = keras.layers.Conv2D(width, 3, strides=2, padding="same")(x)
            x = keras.layers.BatchNormalization()(x)
            x = keras.layers.ReLU()(x)
        return keras.Model(inputs, x)

    def preprocess(self, images: Any) -> Any:
        """Bring the pixels to 0 to 1."""
        import keras

        return keras.layers.Rescaling(1 / 255)(images)


class SmallHead(Head):
    """One dense layer."""

    name: ClassVar[str] = "small"

    def build(self, feature_shape: tuple[int, ...], num_classes: int) -> Any:
        """Build the layer."""
        import keras

        return keras.Sequential(
            [keras.Input(feature_shape), keras.layers.Flatten(), keras.layers.Dense(num_classes)]
        )


class SmallDataset(DatasetSource):
    """Images in three colours, made from numbers."""

    name: ClassVar[str] = "small"

    def __init__(self, size: int = 16) -> None:
        self.size = size

    def load(self, seed: int) -> ImageData:
        """Make the images."""
        train, test = coloured_images(60, self.size, 1), coloured_images(24, self.size, 2)
        return ImageData(Split(*train), Split(*test), CLASS_NAMES)


def small_trainer(folder: Path, **plugins: Any) -> Trainer:
    """Return a Trainer of small plugins, but for those that are given.

    Args:
        folder: Where runs and features go.
        plugins: Arguments of ``Trainer``.
    """
    from tlkit.features import FeatureStore
    from tlkit.registry import Registry
    from tlkit.trainer import Trainer

    arguments: dict[str, Any] = {
        "backbone": SmallBackbone(),
        "head": SmallHead(),
        "dataset": SmallDataset(),
        "workflow": {"name": "freeze_and_train", "epochs": 2},
        "reporters": [],
        "engine": "tensorflow",
        "runs": folder / "runs",
        "store": FeatureStore(folder / "features"),
        "registry": Registry(entry_points=False),
    }
    return Trainer(**(arguments | plugins))
