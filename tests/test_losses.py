import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit import ConfigError
from tlkit.losses import Objective, class_weights


def one_hot(labels, count=3):
    return tf.one_hot(labels, count)


def test_without_extras_it_is_plain():
    assert Objective(3).plain
    for extra in ({"label_smoothing": 0.1}, {"mixup": 0.2}, {"cutmix": 1.0}):
        assert not Objective(3, **extra).plain
    assert not Objective(3, class_weight=(1.0, 1.0, 2.0)).plain


def test_label_smoothing_by_hand():
    # Logits 0 give each of 4 classes the probability 1/4: the loss is log 4 whatever the labels.
    logits = tf.zeros((1, 4))
    loss = Objective(4, label_smoothing=0.2).losses(one_hot([0], 4), logits)
    assert float(loss[0]) == pytest.approx(np.log(4))
    # Probabilities 1/2, 1/4, 1/4 and targets 0.8 + 0.2/3, 0.2/3, 0.2/3.
    logits = tf.math.log(tf.constant([[0.5, 0.25, 0.25]]))
    loss = Objective(3, label_smoothing=0.2).losses(one_hot([0]), logits)
    expected = -(0.8 + 0.2 / 3) * np.log(0.5) - 2 * 0.2 / 3 * np.log(0.25)
    assert float(loss[0]) == pytest.approx(expected, rel=1e-6)


def test_class_weights_multiply_the_loss_of_their_class():
    logits = tf.zeros((3, 3))
    losses = Objective(3, class_weight=(1.0, 2.0, 0.5)).losses(one_hot([0, 1, 2]), logits)
    np.testing.assert_allclose(losses, np.log(3) * np.array([1, 2, 0.5]), rtol=1e-6)


def test_balanced_weights_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1], np.int64)
    # n / (classes * count): 9 / (2 * 3) and 9 / (2 * 6); the third class has no image.
    assert class_weights("balanced", labels, ("a", "b", "c")) == pytest.approx((1.5, 0.75, 1.0))
    assert class_weights("none", labels, ("a", "b", "c")) is None
    assert class_weights({"b": 3.0}, labels, ("a", "b", "c")) == (1.0, 3.0, 1.0)
    for wrong in (-1.0, 0.0, float("nan")):
        with pytest.raises(ConfigError, match=r"class_weight: b = .* is not allowed: above 0"):
            class_weights({"b": wrong}, labels, ("a", "b", "c"))
    with pytest.raises(ConfigError, match=r"names 'd', which is no class. Classes: a, b, c\."):
        class_weights({"d": 3.0}, labels, ("a", "b", "c"))


@settings(max_examples=10, deadline=None)
@given(
    st.sampled_from([{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}]),
    st.integers(0, 1000),
)
def test_images_and_targets_are_mixed_alike(extra, seed):
    # Image i is filled with its label's value, so that the mean of the mixed image tells the mix.
    labels = np.arange(8) % 2
    images = tf.constant(np.ones((8, 16, 16, 3)) * labels[:, None, None, None], tf.float32)
    mix, _ = Objective(2, seed=seed, **extra).mixing()
    mixed, targets = tf.function(mix)(images, one_hot(labels, 2))
    np.testing.assert_allclose(np.sum(targets, axis=1), 1, rtol=1e-5)
    # The edges of a patch fall between pixels.
    np.testing.assert_allclose(np.mean(mixed, axis=(1, 2, 3)), targets[:, 1], atol=0.13)
    assert mixed.shape == images.shape


def test_nothing_is_mixed_unless_asked():
    assert Objective(3, label_smoothing=0.1).mixing() == (None, [])
