"""Train a head on stored features: keras.Model.fit against tlkit, in turns, on the same arrays.

Each measurement has a process of its own, since TensorFlow's threads are chosen once for a process:
``tlkit run`` gives each operation one thread, the others have TensorFlow's default. Starting,
importing, drawing the arrays and tracing are not counted. "bare operations" is a loop of nothing
but the TensorFlow operations of those steps, in two parts, written by hand without dropout,
accuracy and validation. "matrix products alone" is the least that the large layer needs: NumPy's
BLAS on all cores, no optimizer, no gathering of batches.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from tlkit.runtime import keep_freed_memory, require_tensorflow_backend

PLAIN, BARE, PRODUCTS = "keras.Model.fit", "bare operations", "matrix products alone"
SIDES = (PLAIN, "fit, steps_per_execution=256", "tlkit in Python", "tlkit run", BARE, PRODUCTS)


def make_head(width: int, units: int):
    import keras

    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((width,)),
            keras.layers.Dense(units, activation="relu"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(10),
        ]
    )


def plain(train, validation, epochs, batch_size, units, **options):
    import keras

    model = make_head(train[0].shape[1], units)
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


def ours(train, validation, epochs, batch_size, units):
    import keras

    from tlkit.fitting import Fitter
    from tlkit.training_examples import Examples

    fitter = Fitter(make_head(train[0].shape[1], units), keras.optimizers.Adam(), batch_size)
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


def bare(train, epochs, batch_size, units):
    import tensorflow as tf

    def variables(*shape):
        kernel = tf.Variable(tf.random.normal(shape, stddev=0.03))
        return kernel, tf.Variable(tf.zeros(shape)), tf.Variable(tf.zeros(shape))

    width = train[0].shape[1]
    heights = [width // 2, width - width // 2]
    parts = [variables(height, units) for height in heights]
    bias, kernel_2, bias_2 = variables(units), variables(units, 10), variables(10)

    def move(state, gradient, steps):
        power = tf.cast(steps, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=state[0].handle,
            m=state[1].handle,
            v=state[2].handle,
            beta1_power=tf.pow(0.9, power),
            beta2_power=tf.pow(0.999, power),
            lr=1e-3,
            beta1=0.9,
            beta2=0.999,
            epsilon=1e-7,
            grad=gradient,
        )

    def step(inputs, labels, steps):
        pieces = tf.split(inputs, heights, axis=1)
        products = [tf.matmul(x, part[0]) for x, part in zip(pieces, parts, strict=True)]
        hidden = tf.nn.relu(tf.add_n(products) + bias[0])
        second = kernel_2[0].read_value()
        logits = tf.matmul(hidden, second) + bias_2[0]
        _, back = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(features=logits, labels=labels)
        back = back / batch_size
        back_1 = tf.raw_ops.ReluGrad(
            gradients=tf.matmul(back, second, transpose_b=True), features=hidden
        )
        for x, part in zip(pieces, parts, strict=True):
            move(part, tf.matmul(x, back_1, transpose_a=True), steps)
        move(bias, tf.reduce_sum(back_1, 0), steps)
        move(kernel_2, tf.matmul(hidden, back, transpose_a=True), steps)
        move(bias_2, tf.reduce_sum(back, 0), steps)

    @tf.function(autograph=False, jit_compile=False)
    def epoch(features, labels, rows):
        def body(first, steps):
            chosen = rows[first : first + batch_size]
            step(tf.gather(features, chosen), tf.gather(labels, chosen), steps + 1)
            return first + batch_size, steps + 1

        return tf.while_loop(lambda first, _: first < tf.size(rows), body, (0, 0))

    features, labels = (tf.constant(part) for part in train)
    order = tf.constant(np.random.default_rng(0).permutation(len(train[0])))
    epoch(features, labels, order[:batch_size])
    begin = time.perf_counter()
    for _ in range(epochs):
        epoch(features, labels, order)
    return time.perf_counter() - begin


def products(train, validation, epochs, batch_size, units):
    inputs = train[0][:batch_size]
    kernel = np.ones((inputs.shape[1], units), np.float32)
    hidden, gradient = inputs @ kernel, np.empty_like(kernel)
    begin = time.perf_counter()
    for _ in range(epochs * (len(train[0]) // batch_size)):
        np.matmul(inputs, kernel, out=hidden)
        np.matmul(inputs.T, hidden, out=gradient)
    for _ in range(epochs * (len(validation[0]) // batch_size)):
        np.matmul(inputs, kernel, out=hidden)
    return time.perf_counter() - begin


def measure(side, arguments):
    """Return the seconds of one side; runs in a process of its own."""
    if side.startswith("tlkit") or side == BARE:
        keep_freed_memory()
    require_tensorflow_backend(one_thread_per_operation=side in ("tlkit run", BARE))
    generator = np.random.default_rng(0)

    def draw(count):
        features = generator.random((count, arguments.width), dtype=np.float32)
        return features, generator.integers(0, 10, count)

    arrays = draw(arguments.images), draw(arguments.images // 5)
    rest = arguments.epochs, arguments.batch_size, arguments.units
    if side == BARE:
        return bare(arrays[0], *rest)
    if side == PRODUCTS:
        return products(*arrays, *rest)
    if side.startswith("tlkit"):
        return ours(*arrays, *rest)
    options = {} if side == PLAIN else {"jit_compile": False, "steps_per_execution": 256}
    return plain(*arrays, *rest, **options)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help="measure this side only and print seconds")
    arguments = parser.parse_args()
    if arguments.side:
        print(measure(arguments.side, arguments))
        return
    seconds = {side: [] for side in SIDES}
    for _ in range(arguments.rounds):
        for side in SIDES:
            command = [sys.executable, *sys.argv, "--side", side]
            child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            seconds[side].append(float(child.stdout.splitlines()[-1]))
    reference = statistics.median(seconds[PLAIN])
    for side, measured in seconds.items():
        median = statistics.median(measured)
        spread = f"{min(measured):.1f} to {max(measured):.1f}"
        print(f"{side:<30} {median:6.1f} s ({spread})  {reference / median:.1f} x", flush=True)


if __name__ == "__main__":
    main()
