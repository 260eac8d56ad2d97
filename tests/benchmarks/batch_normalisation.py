"""What batch normalisation does to a fine-tuning on few images, in plain Keras.

    python tests/benchmarks/batch_normalisation.py cifar10-lossless.npz

MobileNetV2 with ImageNet weights gets a linear head on frozen features; then the whole network
is fine-tuned twice with the same settings: batch normalisation in training mode, as Keras does by
default for a trainable network, and held still. Prints the accuracy in percent on the training
images, as Keras tells it of each epoch, and on the test images after it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="an .npz of x_train, y_train, x_test, y_test")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--images", type=int, default=1000, help="training images")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 8])
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    settings = parser.parse_args()
    with np.load(settings.data) as file:
        train = (file["x_train"][: settings.images], file["y_train"][: settings.images].ravel())
        test = (file["x_test"], file["y_test"].ravel())
    found = {}
    for batch_size in settings.batch_sizes:
        for still in (False, True):
            found[f"batches of {batch_size}, {'held still' if still else 'in training mode'}"] = (
                fine_tune(train, test, settings, batch_size, still=still)
            )
    print(json.dumps(found, indent=2))


def fine_tune(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    settings: argparse.Namespace,
    batch_size: int,
    *,
    still: bool,
) -> dict[str, list[float]]:
    """Return the accuracies: of the last frozen epoch, then of each epoch of fine-tuning."""
    import keras

    keras.utils.set_random_seed(0)
    size = settings.image_size
    base = keras.applications.MobileNetV2(
        input_shape=(size, size, 3), include_top=False, weights="imagenet", pooling="avg"
    )
    base.trainable = False
    inputs = keras.Input((*train[0].shape[1:],))
    pixels = keras.layers.Resizing(size, size)(inputs)
    features = base(keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels))
    outputs = keras.layers.Dense(int(train[1].max()) + 1, activation="softmax")(features)
    model = keras.Model(inputs, outputs)
    compiled = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
    model.compile("adam", **compiled)
    found: dict[str, list[float]] = {"training": [], "test": []}
    _epochs(model, train, test, found, 32, epochs=8)
    found = {name: values[-1:] for name, values in found.items()}
    base.trainable = True
    if still:
        for layer in base.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
    model.compile(keras.optimizers.Adam(settings.learning_rate), **compiled)
    _epochs(model, train, test, found, batch_size, epochs=settings.epochs)
    return found


def _epochs(
    model: Any,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    found: dict[str, list[float]],
    batch_size: int,
    *,
    epochs: int,
) -> None:
    for _ in range(epochs):
        history = model.fit(*train, batch_size=batch_size, verbose=0).history
        found["training"].append(round(100 * float(history["accuracy"][0]), 1))
        found["test"].append(round(100 * float(model.evaluate(*test, verbose=0)[1]), 1))


if __name__ == "__main__":
    main()
