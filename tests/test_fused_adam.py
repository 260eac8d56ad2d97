import gc
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tlkit.fitting import Fitter
from tlkit.fused_adam import FusedAdam, Plain, make_update
from tlkit.training_examples import Examples


def built(optimizer, **variable):
    weight = keras.Variable(np.ones(3, "float32"), **variable)
    optimizer.build([weight])
    return make_update(optimizer, SimpleNamespace(trainable_variables=[weight], layers=[]))


def schedule():
    return keras.optimizers.schedules.CosineDecay(1e-2, 20, warmup_target=3e-2, warmup_steps=5)


@pytest.mark.parametrize(
    "optimizer",
    [
        keras.optimizers.SGD(0.1),
        keras.optimizers.AdamW(1e-3),
        keras.optimizers.Adam(amsgrad=True),
        keras.optimizers.Adam(weight_decay=0.1),
        keras.optimizers.Adam(clipnorm=1.0),
        keras.optimizers.Adam(global_clipnorm=1.0),
        keras.optimizers.Adam(clipvalue=1.0),
        keras.optimizers.Adam(use_ema=True),
        keras.optimizers.Adam(gradient_accumulation_steps=2),
        keras.optimizers.Adam(learning_rate=lambda: 1e-3),
    ],
    ids=lambda optimizer: optimizer.name,
)
def test_whatever_is_not_plain_adam_goes_through_keras(optimizer):
    assert isinstance(built(optimizer), Plain)


def test_a_constraint_goes_through_keras():
    weight = keras.Variable(np.ones(3, "float32"))
    weight.constraint = keras.constraints.NonNeg()
    optimizer = keras.optimizers.Adam()
    optimizer.build([weight])
    model = SimpleNamespace(trainable_variables=[weight], layers=[])
    assert isinstance(make_update(optimizer, model), Plain)


def make_model():
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)]
    )


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": 1e-2},
        {"learning_rate": 1e-2, "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3},
        {"learning_rate": "schedule"},
    ],
    ids=str,
)
def test_the_numbers_and_the_state_are_those_of_keras(options, monkeypatch):
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(90, 6)).astype(np.float32)
    examples = Examples(inputs, (inputs[:, 0] > 0).astype(np.int64), np.arange(90))
    sides = []
    for fused in (True, False):
        rate = schedule() if options["learning_rate"] == "schedule" else options["learning_rate"]
        optimizer = keras.optimizers.Adam(**options | {"learning_rate": rate})
        fitter = Fitter(make_model(), optimizer, 8)
        assert isinstance(fitter._update, FusedAdam)
        if not fused:
            fitter._update = Plain(optimizer, fitter.model.trainable_variables)
        for epoch in (1, 2, 3):
            fitter.train_epoch(examples, 0, epoch)
        state = [variable.numpy() for variable in optimizer.variables]
        sides.append((int(optimizer.iterations.numpy()), state, fitter.model.get_weights()))
    (steps, state, weights), (other_steps, other_state, other_weights) = sides
    assert steps == other_steps == 3 * 12
    for mine, other in zip((*state, *weights), (*other_state, *other_weights), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-6)


def graphs():
    gc.collect()
    found = gc.get_objects()
    return sum(type(item).__name__ == "FuncGraph" and item.name == "loop" for item in found)


@pytest.mark.parametrize("optimizer", [keras.optimizers.AdamW, keras.optimizers.SGD])
def test_what_was_traced_is_freed(optimizer):
    before = graphs()
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    fitter = Fitter(model, optimizer(0.1), 2)
    rows = np.arange(4)
    fitter.train_epoch(Examples(np.ones((4, 4), np.float32), rows % 2, rows), 0, 1)
    assert graphs() > before
    del inputs, model, fitter
    assert graphs() == before
