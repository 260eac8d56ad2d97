import keras
import numpy as np
import pytest
import tensorflow as tf

from tlkit.folded_normalisation import folded_normalisation


def make_network(**bn):
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((12, 12, 3))
    for number, layer in enumerate(
        (
            keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False),
            keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
            keras.layers.Conv2D(6, 1, groups=2),
        )
    ):
        x = layer(x)
        x = keras.layers.BatchNormalization(name=f"norm_{number}", **bn)(x)
        x = keras.layers.ReLU(6.0)(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    generator = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
            layer.set_weights([generator.uniform(0.5, 2, w.shape) for w in layer.weights])
    return model


IMAGES = np.random.default_rng(2).normal(size=(4, 12, 12, 3)).astype(np.float32)


def gradients(model):
    @tf.function
    def step(images):
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = tf.reduce_mean(tf.square(logits))
        return logits, tape.gradient(loss, [v.value for v in model.trainable_variables])

    return step(tf.constant(IMAGES))


@pytest.mark.parametrize("bn", [{}, {"scale": False}, {"center": False}], ids=str)
def test_maps_and_gradients_stay_the_same(bn):
    model = make_network(**bn)
    logits, expected = gradients(model)
    with folded_normalisation(model.layers) as count:
        folded, found = gradients(model)
        operations = {
            operation.type
            for operation in tf.function(lambda x: model(x))
            .get_concrete_function(tf.TensorSpec((4, 12, 12, 3)))
            .graph.get_operations()
        }
    assert count == 3
    assert "BiasAdd" in operations
    assert "Rsqrt" not in operations
    np.testing.assert_allclose(folded, logits, rtol=1e-4, atol=1e-5)
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-4)


def test_afterwards_everything_is_as_before():
    model = make_network()
    before = np.asarray(model(IMAGES))
    with folded_normalisation(model.layers):
        pass
    assert not any("call" in vars(layer) for layer in model.layers)
    np.testing.assert_array_equal(model(IMAGES), before)


def test_what_does_not_fit_is_left_alone():
    inputs = keras.Input((8, 8, 3))
    shared = keras.layers.Conv2D(4, 3, padding="same")(inputs)
    norm = keras.layers.BatchNormalization(trainable=False)(shared)
    both = keras.Model(inputs, keras.layers.Add()([shared, norm]))
    active = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    after_relu = keras.Model(inputs, keras.layers.BatchNormalization(trainable=False)(active))
    moving = make_network()
    for layer in moving.layers:
        layer.trainable = True
    for model in (both, after_relu, moving):
        with folded_normalisation(model.layers) as count:
            assert count == 0
