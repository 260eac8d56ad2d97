import keras
import numpy as np
import pytest

from tlkit import ConfigError
from tlkit.builtin.heads.dense import Dense
from tlkit.builtin.heads.linear import Linear
from tlkit.builtin.heads.mlp import MLP


@pytest.mark.parametrize("head", [Dense(), Linear(), MLP(), MLP([]), MLP([4, 5, 6])], ids=repr)
def test_heads_give_logits_of_the_right_shape(head):
    model = head.build((7,), 4)
    logits = model.predict(np.random.default_rng(0).normal(size=(5, 7)) * 9, verbose=0)
    assert logits.shape == (5, 4)
    assert not np.allclose(logits.sum(axis=1), 1)


def test_dense_is_the_exercise():
    layers = Dense().build((1280,), 10).layers[1:]
    kinds = [type(layer).__name__ for layer in layers]
    assert kinds == ["Dense", "Activation", "Dropout", "Dense"]
    assert (layers[0].units, layers[2].rate, layers[3].units) == (128, 0.3, 10)
    assert layers[0].use_bias
    assert layers[1].activation is keras.activations.relu


def test_mlp_depth_normalisation_and_pooling():
    head = MLP(units=[8, 4], dropout=0.1, batch_norm=True, activation="gelu", pooling="max")
    layers = head.build((6,), 3).layers
    assert sum(isinstance(layer, keras.layers.BatchNormalization) for layer in layers) == 2
    assert head.pooling == "max"
    assert Linear().pooling == "avg"


def test_two_heads_do_not_share_their_widths():
    assert MLP([5]).units == (5,)
    assert MLP().units == (256,)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Dense(units=0),
        lambda: Dense(dropout=1.0),
        lambda: MLP([3, 0]),
        lambda: MLP(activation="rleu").build((3,), 2),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises(ConfigError, match="is not allowed"):
        make()
