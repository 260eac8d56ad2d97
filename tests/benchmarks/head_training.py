"""Train a head on stored features: keras.Model.fit against tlkit, in turns, on the same arrays."""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tlkit.runtime import keep_freed_memory

keep_freed_memory()

import keras
import numpy as np

from tlkit.fitting import Examples, Fitter


def make_head(width: int):
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((width,)),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(10),
        ]
    )


def plain(train, validation, epochs, batch_size, **options):
    model = make_head(train[0].shape[1])
    model.compile(
        keras.optimizers.Adam(),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        **options,
    )
    first = [part[: 2 * batch_size] for part in train]
    model.fit(*first, batch_size, verbose=0, validation_data=first)
    served = []
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda *seen: served.append(seen))
    begin = time.perf_counter()
    model.fit(
        *train,
        batch_size,
        epochs,
        validation_data=validation,
        verbose=0,
        callbacks=[callback],
    )
    seconds = time.perf_counter() - begin
    assert len(served) == epochs
    return seconds


def ours(train, validation, epochs, batch_size):
    fitter = Fitter(make_head(train[0].shape[1]), keras.optimizers.Adam(), batch_size)
    first = Examples(*(part[: 2 * batch_size] for part in train), np.arange(2 * batch_size))
    fitter.train_epoch(first, 0, 1)
    fitter.evaluate(first)
    train_examples, validation_examples = (
        Examples(*part, np.arange(len(part[0]))) for part in (train, validation)
    )
    served = []
    begin = time.perf_counter()
    for epoch in range(1, epochs + 1):
        metrics = fitter.train_epoch(train_examples, 0, epoch, lambda *seen: None)
        served.append(metrics | fitter.evaluate(validation_examples))
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    generator = np.random.default_rng(0)

    def draw(count):
        features = generator.random((count, arguments.width), dtype=np.float32)
        return features, generator.integers(0, 10, count)

    train, validation = draw(arguments.images), draw(arguments.images // 5)
    sides = {
        "keras.Model.fit": plain,
        "fit, steps_per_execution=256": lambda *rest: plain(
            *rest, jit_compile=False, steps_per_execution=256
        ),
        "tlkit": ours,
    }
    seconds = {name: [] for name in sides}
    for _ in range(arguments.rounds):
        for name, side in sides.items():
            seconds[name].append(side(train, validation, arguments.epochs, arguments.batch_size))
    reference = statistics.median(seconds["keras.Model.fit"])
    for name, measured in seconds.items():
        median = statistics.median(measured)
        spread = f"{min(measured):.1f} to {max(measured):.1f}"
        print(f"{name:<30} {median:6.1f} s ({spread})  {reference / median:.1f} x", flush=True)


if __name__ == "__main__":
    main()
