import keras
import numpy as np
import pytest

from tests.tiny import TinyBackbone
from tlkit import ConfigError
from tlkit.builtin.heads.linear import Linear
from tlkit.freezing import batch_normalisation_state, unfreeze
from tlkit.model import assemble


@pytest.fixture
def network():
    return assemble(TinyBackbone(), Linear(), 3).backbone


def test_unfreezing_leaves_batch_normalisation_frozen(network):
    blocks = TinyBackbone().blocks(network)
    assert [block[0].name for block in blocks] == ["conv_1", "norm_1", "conv_2", "norm_2"]
    unfreeze(network, blocks, 2)
    assert [weight.path for weight in network.trainable_weights] == [
        "conv_2/kernel",
        "conv_2/bias",
    ]
    unfreeze(network, blocks, "all")
    assert len(network.trainable_weights) == 4
    assert len(batch_normalisation_state(network)) == 8
    unfreeze(network, blocks, 0)
    assert not network.trainable_weights


def test_batch_normalisation_inside_a_layer_made_of_layers_stays_frozen():
    class Block(keras.layers.Layer):
        def __init__(self):
            super().__init__(name="block")
            self.inner = [
                keras.layers.Conv2D(4, 3, name="conv"),
                keras.layers.BatchNormalization(name="norm"),
            ]

        def build(self, shape):
            self.scale = self.add_weight(shape=(), name="scale")
            self.inner[0].build(shape)
            self.inner[1].build(self.inner[0].compute_output_shape(shape))

        def call(self, x, training=None):
            return self.inner[1](self.inner[0](x), training=training) * self.scale

    inputs = keras.Input((8, 8, 3))
    block = Block()
    network = keras.Model(inputs, keras.layers.Conv2D(2, 1, name="last")(block(inputs)))
    assert len(batch_normalisation_state(network)) == 4

    def trainable():
        return sorted(weight.path for weight in network.trainable_weights)

    unfreeze(network, [[block], [network.get_layer("last")]], 1)
    assert trainable() == ["last/bias", "last/kernel"]
    unfreeze(network, [[block.inner[0]], [block.inner[1]], [network.get_layer("last")]], 3)
    assert trainable() == ["block/conv/bias", "block/conv/kernel", "last/bias", "last/kernel"]
    unfreeze(network, [[block]], "all")
    assert "block/scale" in trainable()
    assert not any("norm" in path for path in trainable())
    before = batch_normalisation_state(network)
    network(np.full((2, 8, 8, 3), 9.0, np.float32), training=True)
    for old, new in zip(before, batch_normalisation_state(network), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("count", [-1, 5])
def test_unfreezing_blocks_that_are_not_there_is_refused(network, count):
    with pytest.raises(ConfigError, match="0 to 4"):
        unfreeze(network, TinyBackbone().blocks(network), count)
