"""Small plugins that the tests share: a backbone of 1,000 parameters and three easy classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tlkit import Backbone, DatasetSource, ImageData, Registry, Reporter, Split, Trainer
from tlkit.builtin.heads.dense import Dense
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain
from tlkit.features import FeatureStore

CLASS_NAMES = ("red", "green", "blue")


class TinyBackbone(Backbone):
    """Two convolutions with batch normalisation."""

    name: ClassVar[str] = "tiny"

    def __init__(self, image_size: int = 16, weights: str = "random", scale: float = 255.0) -> None:
        super().__init__(image_size, weights)
        self.scale = scale

    def build(self) -> Any:
        import keras

        x = inputs = keras.Input((self.image_size, self.image_size, 3))
        for number, width in enumerate((8, 16), 1):
            x = keras.layers.Conv2D(width, 3, strides=2, padding="same", name=f"conv_{number}")(x)
            x = keras.layers.BatchNormalization(name=f"norm_{number}")(x)
            x = keras.layers.ReLU(name=f"relu_{number}")(x)
        return keras.Model(inputs, x)

    def preprocess(self, images: Any) -> Any:
        import keras

        return keras.layers.Rescaling(1 / self.scale)(images)


def make_images(count: int, seed: int, size: int = 12) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = generator.integers(0, 120, (count, size, size, 3))
    images[np.arange(count), :, :, labels] += 100
    return images.astype(np.uint8), labels.astype(np.int64)


class Colours(DatasetSource):
    """Noise in three colours."""

    name: ClassVar[str] = "colours"

    def __init__(self, count: int = 90) -> None:
        self.count = count

    def load(self, seed: int) -> ImageData:
        train, test = make_images(self.count, 1), make_images(30, 2)
        return ImageData(Split(*train), Split(*test), CLASS_NAMES)


def make_tiny_trainer(folder: Path, **changes: Any) -> Trainer:
    """Return a Trainer of the tiny plugins that keeps its runs and features in a folder."""
    arguments: dict[str, Any] = {
        "backbone": TinyBackbone(),
        "head": Dense(8),
        "dataset": Colours(),
        "workflow": FreezeAndTrain(epochs=2, learning_rate=1e-2),
        "reporters": [],
        # What "auto" comes to for so few images, without measuring.
        "engine": "tensorflow",
        "runs": folder / "runs",
        "store": FeatureStore(folder / "features"),
        "registry": Registry(entry_points=False),
    }
    return Trainer(**(arguments | changes))


class Recorder(Reporter):
    """Keeps every event."""

    name: ClassVar[str] = "recorder"

    def __init__(self) -> None:
        self.events: list[tuple[str, tuple[Any, ...]]] = []

    def __getattribute__(self, key: str) -> Any:
        if not key.startswith("on_"):
            return super().__getattribute__(key)
        return lambda *args, **kwargs: self.events.append((key, (*args, kwargs)))

    def names(self) -> list[str]:
        return [name for name, _ in self.events]
