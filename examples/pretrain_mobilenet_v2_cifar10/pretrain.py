"""Pre-train the MobileNetV2 (alpha 0.35) whose weights ship inside tlkit, on CIFAR-10.

    python pretrain.py cifar10.npz mobilenet_v2_0.35_cifar10.npz

The input is an ``.npz`` with ``x_train, y_train, x_test, y_test`` as ``keras.datasets.cifar10``
gives them; the output holds one float16 array per weight, named by its Keras path. The number
of epochs is fixed beforehand and the test set is read once, at the end, so nothing is chosen by
it. An epoch took 140 s on two slow cores.
"""

import argparse
import json
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

ALPHA, IMAGE_SIZE, BATCH = 0.35, 48, 128


def augment(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    padded = tf.pad(tf.image.random_flip_left_right(image), [[4, 4], [4, 4], [0, 0]], "REFLECT")
    return tf.cast(tf.image.random_crop(padded, (32, 32, 3)), tf.float32), label


def make_training_set(images: np.ndarray, labels: np.ndarray, seed: int) -> tf.data.Dataset:
    data = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images), seed=seed)
    return data.map(augment, num_parallel_calls=2).batch(BATCH, drop_remainder=True).prefetch(4)


def build(dropout: float) -> tuple[keras.Model, keras.Model]:
    backbone = keras.applications.MobileNetV2(
        (IMAGE_SIZE, IMAGE_SIZE, 3), alpha=ALPHA, include_top=False, weights=None
    )
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Resizing(IMAGE_SIZE, IMAGE_SIZE, interpolation="bilinear")(inputs)
    x = backbone(keras.layers.Rescaling(1 / 127.5, offset=-1)(x))
    x = keras.layers.Dropout(dropout)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, keras.layers.Dense(10)(x)), backbone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    keras.utils.set_random_seed(args.seed)

    with np.load(args.data) as data:
        x_train, y_train, x_test, y_test = (
            data[k] for k in ("x_train", "y_train", "x_test", "y_test")
        )
    steps = args.epochs * (len(x_train) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-4, steps - steps // 10, warmup_target=3e-3, warmup_steps=steps // 10
    )
    model, backbone = build(dropout=0.1)
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.02),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,  # on a CPU, XLA makes this network several times slower
    )
    begin = time.monotonic()
    model.fit(make_training_set(x_train, y_train, args.seed), epochs=args.epochs, verbose=2)
    seconds = time.monotonic() - begin

    half = {w.path: np.asarray(w.value).astype(np.float16) for w in backbone.weights}
    for weight in backbone.weights:
        weight.assign(half[weight.path].astype(np.float32))
    loss, accuracy = model.evaluate(x_test.astype(np.float32), y_test, batch_size=500, verbose=0)
    np.savez(args.output, **half)
    figures = {
        "test_accuracy": round(accuracy, 4),
        "test_loss": round(loss, 4),
        "epochs": args.epochs,
        "seed": args.seed,
        "image_size": IMAGE_SIZE,
        "training_seconds": round(seconds),
        "parameters": sum(int(v.size) for v in half.values()),
        "bytes": args.output.stat().st_size,
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
