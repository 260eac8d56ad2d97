"""Pictures in which a coloured square alone decides the class, and a network made by hand."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tlkit import DatasetSource, ImageData, Split

SIDE, SQUARE = 32, 8
CLASS_NAMES = ("red", "blue")
COLOURS = {"red": (230, 30, 30), "blue": (30, 30, 230), "white": (240, 240, 240)}
Place = tuple[int, int]


def picture(squares: dict[str, Place], seed: int = 0) -> np.ndarray:
    """Return grey noise with squares, each with its top left corner at (y, x)."""
    noise = np.random.default_rng(seed).integers(60, 140, (SIDE, SIDE, 1))
    image = np.repeat(noise, 3, axis=2).astype(np.uint8)
    for name, (y, x) in squares.items():
        image[y : y + SQUARE, x : x + SQUARE] = COLOURS[name]
    return image


def share_within(heat: np.ndarray, place: Place, margin: int = 2) -> float:
    """Return the share of the heat in a square, with a margin for the coarseness of the maps."""
    y, x = place
    rows = slice(max(0, y - margin), y + SQUARE + margin)
    columns = slice(max(0, x - margin), x + SQUARE + margin)
    return float(heat[rows, columns].sum() / heat.sum())


def network_made_by_hand(*, temperature: bool = False, views: bool = False) -> Any:
    """Return a saved model's shape: three maps for red, blue and white, and a head of two classes.

    Args:
        temperature: Whether there is a temperature between logits and softmax.
        views: Whether the backbone sees the mirrored image too, and the logits are averaged.
    """
    import keras

    size = SIDE
    inputs = keras.Input((size, size, 3))
    maps = keras.layers.Conv2D(3, 4, strides=4, activation="relu", name="colours")(inputs)
    backbone = keras.Model(inputs, maps, name="backbone")
    kernel = np.zeros((4, 4, 3, 3), dtype="float32")
    for channel, weights in enumerate(((1, -0.5, -0.5), (-0.5, -0.5, 1), (1, 1, 1))):
        kernel[:, :, :, channel] = np.array(weights) / 16
    backbone.get_layer("colours").set_weights([kernel, np.array([-0.2, -0.2, -2.2], "float32")])
    features = keras.Input((3,))
    head = keras.Model(features, keras.layers.Dense(2, name="logits")(features), name="linear")
    head.get_layer("logits").set_weights(
        [np.array([[60, 0], [0, 60], [0, 0]], "float32"), np.zeros(2, "float32")]
    )

    pixels = keras.Input((None, None, 3), name="pixels")
    resized = keras.layers.Resizing(size, size, antialias=True, name="resize")(pixels)
    pool = keras.layers.GlobalAveragePooling2D(name="pool")

    images = resized
    if views:
        images = keras.ops.concatenate([resized, keras.ops.flip(resized, axis=2)], axis=0)
    logits = head(pool(backbone(keras.layers.Rescaling(1 / 255)(images))))
    if views:
        logits = keras.ops.mean(keras.ops.reshape(logits, (2, -1, 2)), axis=0)
    if temperature:
        logits = keras.layers.Rescaling(0.5, name="temperature")(logits)
    return keras.Model(pixels, keras.layers.Softmax(name="probabilities")(logits))


class Squares(DatasetSource):
    """A red or a blue square decides; a white one, which is in every picture, does not."""

    name: ClassVar[str] = "squares"

    def __init__(self, count: int = 240) -> None:
        self.count = count

    def load(self, seed: int) -> ImageData:
        return ImageData(self.split(self.count, 1)[0], self.split(40, 2)[0], CLASS_NAMES)

    @staticmethod
    def split(count: int, seed: int) -> tuple[Split, list[Place]]:
        """Return pictures and where the square that decides lies in each."""
        generator = np.random.default_rng(seed)
        labels = generator.integers(0, 2, count)
        images, places = [], []
        for index, label in enumerate(labels):
            y, x = (int(value) for value in generator.integers(0, SIDE - SQUARE + 1, 2))
            # The white square lies half a picture away, so that it never covers the other.
            other = ((y + SIDE // 2) % SIDE, int(generator.integers(0, SIDE - SQUARE + 1)))
            other = (min(other[0], SIDE - SQUARE), other[1])
            squares = {"white": other, CLASS_NAMES[label]: (y, x)}
            images.append(picture(squares, seed=seed * 10_000 + index))
            places.append((y, x))
        return Split(np.stack(images), labels.astype(np.int64)), places
