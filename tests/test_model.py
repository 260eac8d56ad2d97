import keras
import numpy as np
import pytest

from tests.tiny import TinyBackbone, make_images
from tlkit import ConfigError, Head, PluginError
from tlkit.builtin.heads.dense import Dense
from tlkit.builtin.heads.linear import Linear
from tlkit.model import (
    assemble,
    batch_normalisation_state,
    count_parameters,
    fits_h5,
    unfreeze,
    with_temperature,
)
from tlkit.test_time_augmentation import PLAIN, FixedView


@pytest.fixture
def model():
    return assemble(TinyBackbone(), Linear(), 3)


def test_the_views_share_their_layers_and_the_model_ends_in_softmax(model):
    images, _ = make_images(4, seed=0)
    probabilities = model.model.predict(images, verbose=0)
    resized = model.resize(images.astype(np.float32))
    logits = model.head.predict(model.features.predict(resized, verbose=0), verbose=0)
    np.testing.assert_allclose(probabilities, keras.ops.softmax(logits), rtol=1e-5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_the_saved_model_needs_keras_alone_and_takes_raw_pixels(model, tmp_path, suffix):
    images, _ = make_images(4, seed=0, size=40)
    model.model.save(tmp_path / f"model.{suffix}")
    loaded = keras.models.load_model(tmp_path / f"model.{suffix}", compile=False)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0), model.model.predict(images, verbose=0)
    )


def test_without_a_word_on_training_the_saved_model_drops_nothing_out(tmp_path):
    parts = assemble(TinyBackbone(), Dense(8, dropout=0.9), 3)
    parts.model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    images = make_images(8, seed=0)[0].astype(np.float32)
    expected = parts.model.predict(images, verbose=0)
    for model in (parts.model, loaded):
        np.testing.assert_allclose(model(images), expected, atol=1e-5)
    trained = [np.asarray(parts.logits(images, training=True)) for _ in range(2)]
    assert np.abs(trained[0] - trained[1]).max() > 1e-3


def test_the_logits_of_the_views_are_averaged_in_the_saved_model_too(tmp_path):
    views = (PLAIN, FixedView(mirrored=True), FixedView(scale=0.75))
    model = assemble(TinyBackbone(), Linear(), 3, views=views)
    images, _ = make_images(5, seed=0)
    resized = model.resize(images.astype(np.float32))
    logits = [
        model.head(model.features(view.of(resized, "bilinear"), training=False)) for view in views
    ]
    expected = keras.ops.softmax(sum(logits) / 3)
    assert np.abs(np.asarray(logits[0]) - np.asarray(logits[2])).max() > 1e-3
    np.testing.assert_allclose(model.model.predict(images, verbose=0), expected, rtol=1e-4)
    model.model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(loaded.predict(images, verbose=0), expected, rtol=1e-4)
    assert not fits_h5(model.model)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_temperature_divides_the_logits_and_is_saved_with_the_model(model, tmp_path, suffix):
    images, _ = make_images(4, seed=0)
    scaled = with_temperature(model, 2.5)
    expected = keras.ops.softmax(model.logits.predict(images, verbose=0) / 2.5)
    np.testing.assert_allclose(scaled.predict(images, verbose=0), expected, rtol=1e-5)
    assert not np.allclose(model.model.predict(images, verbose=0), expected, rtol=1e-3)
    scaled.save(tmp_path / f"model.{suffix}")
    loaded = keras.models.load_model(tmp_path / f"model.{suffix}")
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0), scaled.predict(images, verbose=0)
    )
    assert scaled.count_params() == model.model.count_params()


class OwnConfig(keras.Model):
    """A network that is built from a config of its own, as those of KerasHub are."""

    def __init__(self, scale=1.0, **kwargs):
        inputs = keras.Input((16, 16, 3))
        outputs = keras.layers.Rescaling(scale)(keras.layers.Conv2D(4, 3)(inputs))
        super().__init__(inputs, outputs, **kwargs)
        self.scale = scale

    def get_config(self):
        return {"scale": self.scale}


def test_h5_is_not_for_networks_with_a_config_of_their_own(model):
    assert fits_h5(model.model)
    inputs = keras.Input((16, 16, 3))
    assert fits_h5(keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs)))
    assert not fits_h5(keras.Model(inputs, OwnConfig()(inputs)))


def test_the_backbone_comes_frozen(model):
    assert not model.backbone.trainable_weights
    trainable, frozen = count_parameters(model.model)
    assert trainable == 16 * 3 + 3
    assert trainable + frozen == model.model.count_params()


def test_unfreezing_leaves_batch_normalisation_frozen(model):
    blocks = TinyBackbone().blocks(model.backbone)
    assert [block[0].name for block in blocks] == ["conv_1", "norm_1", "conv_2", "norm_2"]
    unfreeze(model.backbone, blocks, 2)
    assert [weight.path for weight in model.backbone.trainable_weights] == [
        "conv_2/kernel",
        "conv_2/bias",
    ]
    unfreeze(model.backbone, blocks, "all")
    assert len(model.backbone.trainable_weights) == 4
    assert len(batch_normalisation_state(model.backbone)) == 8
    unfreeze(model.backbone, blocks, 0)
    assert not model.backbone.trainable_weights


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
def test_unfreezing_blocks_that_are_not_there_is_refused(model, count):
    with pytest.raises(ConfigError, match="0 to 4"):
        unfreeze(model.backbone, TinyBackbone().blocks(model.backbone), count)


def test_a_backbone_with_its_top_on_is_refused():
    class Topped(TinyBackbone):
        def build(self):
            network = super().build()
            return keras.Model(network.input, keras.layers.GlobalAveragePooling2D()(network.output))

    with pytest.raises(PluginError, match="Leave its top off"):
        assemble(Topped(), Linear(), 3)


def test_a_head_with_the_wrong_number_of_classes_is_refused():
    class Wrong(Head):
        name = "wrong"

        def build(self, feature_shape, num_classes):
            return keras.Sequential([keras.Input(feature_shape), keras.layers.Dense(7)])

    with pytest.raises(PluginError, match=r"\(N, 3\)"):
        assemble(TinyBackbone(), Wrong(), 3)


def test_a_head_may_take_whole_maps():
    class Maps(Head):
        name = "maps"
        pooling = None

        def build(self, feature_shape, num_classes):
            assert feature_shape == (4, 4, 16)
            return keras.Sequential(
                [
                    keras.Input(feature_shape),
                    keras.layers.Flatten(),
                    keras.layers.Dense(num_classes),
                ]
            )

    assert assemble(TinyBackbone(), Maps(), 3).model.output_shape == (None, 3)
