import keras
import numpy as np
import pytest

from tests.tiny import TinyBackbone, make_images
from tlkit import Head
from tlkit.builtin.heads.dense import Dense
from tlkit.builtin.heads.linear import Linear
from tlkit.model import (
    assemble,
    count_parameters,
    fits_h5,
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
