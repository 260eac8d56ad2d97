import keras
import numpy as np
import pytest
import tensorflow as tf

from tlkit.block_rates import BlockRates


def make_variables():
    return [keras.Variable(np.ones(2, np.float32), name=name) for name in ("top", "mid", "low")]


def step(optimizer, variables, gradient=1.0):
    optimizer.apply([tf.fill((2,), gradient) for _ in variables], variables)


def moved(variables):
    return [float(1 - variable.numpy()[0]) for variable in variables]


@pytest.mark.parametrize("make", [keras.optimizers.Adam, keras.optimizers.SGD])
def test_updates_shrink_from_block_to_block(make):
    variables, optimizer = make_variables(), make(0.1)
    BlockRates([[item] for item in variables], decay=0.5).set_on(optimizer)
    optimizer.build(variables)
    step(optimizer, variables)
    assert moved(variables) == pytest.approx([0.1, 0.05, 0.025], rel=1e-4)


def test_scaled_gradients_would_change_nothing_under_adam():
    variables, optimizer = make_variables(), keras.optimizers.Adam(0.1)
    optimizer.build(variables)
    optimizer.apply([tf.fill((2,), value) for value in (1.0, 0.5, 0.25)], variables)
    assert moved(variables) == pytest.approx([0.1, 0.1, 0.1], rel=1e-4)


def test_weight_decay_is_scaled_with_the_updates():
    variables = make_variables()
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.2)
    BlockRates([[item] for item in variables], decay=0.5).set_on(optimizer)
    optimizer.build(variables)
    step(optimizer, variables, gradient=0.0)
    assert moved(variables) == pytest.approx([0.02, 0.01, 0.005], rel=1e-4)


def test_without_decay_it_is_the_optimizer_as_it_is():
    ours, theirs = make_variables(), make_variables()
    for variables, scaled in ((ours, True), (theirs, False)):
        optimizer = keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(0.0, 5, warmup_target=0.1, warmup_steps=2),
            weight_decay=0.1,
            global_clipnorm=1.0,
            use_ema=True,
        )
        optimizer.exclude_from_weight_decay(var_names=["low"])
        if scaled:
            BlockRates([variables], decay=1.0).set_on(optimizer)
        optimizer.build(variables)
        for gradient in (1.0, -2.0, 0.5):
            step(optimizer, variables, gradient)
        optimizer.finalize_variable_values(variables)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=1e-6)


def test_blocks_hold_still_until_their_turn():
    variables = make_variables()
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.2)
    rates = BlockRates([[item] for item in variables], decay=1.0, epochs_each=2)
    rates.set_on(optimizer)
    optimizer.build(variables)
    low = variables[2].numpy()
    for epoch in (1, 2):
        rates.begin_epoch(epoch)
        step(optimizer, variables)
        np.testing.assert_array_equal(variables[2].numpy(), low)
    assert moved(variables)[1] > 0.1
    rates.begin_epoch(3)
    step(optimizer, variables)
    assert moved(variables)[2] > 0
