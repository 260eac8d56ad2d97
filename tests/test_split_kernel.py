import subprocess
import sys

import keras
import numpy as np
import pytest

from tlkit import fused_adam, split_kernel
from tlkit.fitting import Fitter
from tlkit.split_kernel import SplitKernel, splittable_layers
from tlkit.training_examples import Examples


def make_model(*layers, width=7):
    return keras.Sequential([keras.Input((width,)), *layers])


def make_head():
    keras.utils.set_random_seed(1)
    return make_model(
        keras.layers.Dense(9, "relu", use_bias=False),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(5, "tanh"),
        keras.layers.Dense(3),
    )


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(split_kernel, "LEAST_ELEMENTS", 40)


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_training_in_parts_gives_the_same_weights_and_optimizer(parts, monkeypatch):
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(90, 7)).astype(np.float32)
    examples = Examples(inputs, (inputs[:, 0] > 0).astype(np.int64), np.arange(90))
    sides = []
    for count in (1, parts):
        monkeypatch.setattr(fused_adam, "number_of_parts", lambda count=count: count)
        optimizer = keras.optimizers.Adam(1e-2)
        fitter = Fitter(make_head(), optimizer, 8)
        assert len(fitter._update._splits) == (0 if count == 1 else 2)
        for epoch in (1, 2, 3):
            metrics = fitter.train_epoch(examples, 0, epoch)
            metrics |= {f"val_{key}": v for key, v in fitter.evaluate(examples).items()}
        state = [variable.numpy() for variable in optimizer.variables]
        sides.append([*metrics.values(), *state, *fitter.model.get_weights()])
    for whole, split in zip(*sides, strict=True):
        np.testing.assert_allclose(split, whole, rtol=1e-4, atol=1e-5)


def test_weights_that_are_set_between_epochs_count(monkeypatch):
    monkeypatch.setattr(fused_adam, "number_of_parts", lambda: 2)
    model = make_model(keras.layers.Dense(9))
    fitter = Fitter(model, keras.optimizers.Adam(0.0), 8)
    examples = Examples(np.ones((8, 7), np.float32), np.zeros(8, np.int64), np.arange(8))
    fitter.train_epoch(examples, 0, 1)
    kernel = np.zeros((7, 9), np.float32)
    kernel[:, 0] = 100
    model.set_weights([kernel, np.zeros(9)])
    assert fitter.train_epoch(examples, 0, 2)["loss"] == pytest.approx(0, abs=1e-6)
    np.testing.assert_array_equal(model.get_weights()[0], kernel)


def test_a_layer_computes_with_its_parts_only_while_it_is_traced():
    model = make_model(keras.layers.Dense(9))
    layer = model.layers[0]
    split = SplitKernel(layer, (), 2)
    inputs = np.ones((2, 7), np.float32)
    expected = model(inputs).numpy()
    layer.kernel.assign(np.zeros((7, 9)))
    with split.in_place():
        np.testing.assert_allclose(model(inputs), expected, atol=1e-6)
    np.testing.assert_array_equal(model(inputs), np.zeros((2, 9)))
    assert "call" not in vars(layer)


def lora():
    layer = keras.layers.Dense(9)
    layer.build((None, 7))
    layer.enable_lora(2)
    return layer


class Own(keras.layers.Dense):
    """Whose call may differ."""


@pytest.mark.parametrize(
    "layer",
    [
        lambda: keras.layers.Dense(2),
        lambda: keras.layers.Dense(9, kernel_regularizer="l2"),
        lambda: keras.layers.Dense(9, trainable=False),
        lambda: keras.layers.Dense(9, dtype="mixed_float16"),
        lambda: keras.layers.EinsumDense("ab,bc->ac", output_shape=9),
        lambda: Own(9),
        lora,
    ],
    ids=["small", "regularised", "frozen", "half", "einsum", "subclass", "lora"],
)
def test_other_layers_stay_whole(layer):
    assert splittable_layers(make_model(layer())) == []


def test_a_model_with_layers_of_others_stays_whole():
    assert splittable_layers(make_model(keras.layers.Dense(9), Own(9))) == []


def test_nested_models_are_looked_into():
    inner = make_model(keras.layers.Dense(9))
    assert splittable_layers(keras.Sequential([keras.Input((7,)), inner])) == inner.layers


@pytest.mark.parametrize("single", [True, False])
def test_kernels_are_split_where_operations_run_in_one_thread(single):
    code = (
        "from tlkit import runtime, split_kernel\n"
        f"runtime.require_tensorflow_backend(one_thread_per_operation={single})\n"
        "split_kernel.number_of_cores = lambda: 16\n"
        "print(split_kernel.number_of_parts())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == ("4" if single else "1"), done.stderr
