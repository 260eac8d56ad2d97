"""The plain Keras way of the jobs that ``tlkit bench`` measures: a script that needs no tlkit.

python plain_keras.py cifar10.npz --output results

The data is an .npz with the keys of ``keras.datasets.cifar10``, so that it also runs without
internet; the ImageNet weights come from Keras' cache (KERAS_HOME) or a download. The last line of
its output is one JSON object: seconds of importing, seconds of the job, accuracy of each model.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

NUM_CLASSES = 10
# The exercise's own size, where it trains on pixels / 255.
SMALL = 32


def main() -> None:
    """Train, test and save one classifier for each number of units."""
    options = _options()
    begin = time.monotonic()
    import keras
    import matplotlib
    import numpy as np
    import sklearn.metrics  # noqa: F401
    import tensorflow as tf

    matplotlib.use("Agg")
    import matplotlib.pyplot

    # tlkit counts starting the devices as part of importing too.
    tf.config.list_logical_devices()
    imports = time.monotonic() - begin

    begin = time.monotonic()
    options.output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    with np.load(options.data) as data:
        x_train, y_train = data["x_train"], data["y_train"]
        x_test, y_test = data["x_test"], data["y_test"]
    if options.images is not None:
        x_train, y_train = x_train[: options.images], y_train[: options.images]
        x_test, y_test = x_test[: options.images // 5], y_test[: options.images // 5]
    if options.image_size == SMALL:
        x_train, x_test = x_train.astype("float32") / 255, x_test.astype("float32") / 255
    backbone = keras.applications.MobileNetV2(
        weights=None if options.weights == "random" else options.weights,
        include_top=False,
        input_shape=(options.image_size, options.image_size, 3),
        alpha=options.alpha,
    )
    backbone.trainable = False
    accuracies = [
        _train(backbone, units, (x_train, y_train), (x_test, y_test), options)
        for units in options.units
    ]
    seconds = time.monotonic() - begin
    print(json.dumps({"imports": imports, "seconds": seconds, "accuracy": accuracies}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Transfer learning on CIFAR-10 in plain Keras.")
    parser.add_argument("data", type=Path, help=".npz with x_train, y_train, x_test, y_test")
    parser.add_argument("--output", type=Path, required=True, help="folder for models and plots")
    parser.add_argument("--image-size", type=int, default=SMALL)
    parser.add_argument("--units", type=int, nargs="+", default=[128])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--images", type=int, help="use the first N images, and N // 5 to test")
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--weights", choices=["imagenet", "random"], default="imagenet")
    return parser.parse_args()


def _train(
    backbone: Any,
    units: int,
    train: tuple[Any, Any],
    test: tuple[Any, Any],
    options: argparse.Namespace,
) -> float:
    import keras
    from sklearn.metrics import classification_report, confusion_matrix

    layers = [
        backbone,
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(units, activation="relu"),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(NUM_CLASSES, activation="softmax"),
    ]
    if options.image_size != SMALL:
        layers = [
            keras.Input(train[0].shape[1:]),
            keras.layers.Resizing(options.image_size, options.image_size),
            keras.layers.Rescaling(1 / 127.5, offset=-1),
            *layers,
        ]
    model = keras.Sequential(layers)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(
        *train,
        epochs=options.epochs,
        batch_size=options.batch_size,
        validation_data=test,
        verbose=2,
    )
    _, accuracy = model.evaluate(*test, verbose=0)
    predictions = model.predict(test[0], verbose=0).argmax(axis=1)
    matrix = confusion_matrix(test[1], predictions)
    print(matrix)
    print(classification_report(test[1], predictions))
    print(f"units {units} accuracy {accuracy:.4f}")
    model.save(options.output / f"model-{units}.keras")
    model.save(options.output / f"model-{units}.h5")
    _draw(history.history, matrix, units, options.output)
    return float(accuracy)


def _draw(history: dict[str, list[float]], matrix: Any, units: int, output: Path) -> None:
    import matplotlib.pyplot as plt

    plt.figure()
    plt.plot(history["loss"], label="train")
    plt.plot(history["val_loss"], label="validation")
    plt.xlabel("Epoch")
    plt.ylabel("Loss")
    plt.legend()
    plt.savefig(output / f"loss-{units}.png")
    plt.close()
    plt.figure()
    plt.imshow(matrix)
    plt.colorbar()
    plt.xlabel("Predicted class")
    plt.ylabel("True class")
    plt.savefig(output / f"confusion_matrix-{units}.png")
    plt.close()


if __name__ == "__main__":
    main()
