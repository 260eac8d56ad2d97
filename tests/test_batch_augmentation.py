import keras
import numpy as np
import pytest
import tensorflow as tf

from tlkit import Augmentation
from tlkit.batch_augmentation import make_augment

PLAIN = Augmentation(flip=False, crop=0.0, colour=0.0)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 12, 10, 3)).astype(np.float32)


def run(augmentation, images, size=24, seed=0, interpolation="bilinear"):
    return tf.function(
        make_augment(augmentation, size, interpolation, keras.random.SeedGenerator(seed))
    )(images).numpy()


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_without_changes_it_is_the_resizing_of_the_saved_model(images, interpolation):
    resized = keras.layers.Resizing(24, 24, interpolation=interpolation)(images).numpy()
    np.testing.assert_allclose(run(PLAIN, images, interpolation=interpolation), resized, atol=1e-2)


def test_half_of_the_views_are_mirrored():
    images = np.random.default_rng(0).integers(0, 256, (200, 8, 8, 3)).astype(np.float32)
    views = run(Augmentation(flip=True, crop=0.0, colour=0.0), images, 8)
    same = np.abs(views - images).max(axis=(1, 2, 3)) < 1e-2
    mirrored = np.abs(views - images[:, :, ::-1]).max(axis=(1, 2, 3)) < 1e-2
    assert np.all(same | mirrored)
    assert 60 < mirrored.sum() < 140


def test_crops_show_at_least_the_share_that_is_left():
    # The value of a pixel is its column, so that the range of a view tells the width of the crop.
    columns = np.broadcast_to(np.arange(100.0, dtype=np.float32)[:, None], (300, 100, 100, 3))
    views = run(Augmentation(flip=False, crop=0.36, colour=0.0), columns, 50)
    widths = (views.max(axis=(1, 2, 3)) - views.min(axis=(1, 2, 3))) / 99
    assert widths.min() > 0.8 * np.sqrt(3 / 4) - 0.05
    assert widths.max() <= 1
    assert widths.std() > 0.03
    assert views.min() >= 0
    assert views.max() <= 99


def test_colours_stay_in_range_and_change(images):
    views = run(Augmentation(flip=False, crop=0.0, colour=0.5), images)
    plain = run(PLAIN, images)
    assert views.min() >= 0
    assert views.max() <= 255
    assert np.abs(views - plain).mean() > 1


def test_the_seed_decides(images):
    first, again, other = (run(Augmentation(), images, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_each_call_draws_anew(images):
    augment = tf.function(
        make_augment(Augmentation(), 24, "bilinear", keras.random.SeedGenerator(0))
    )
    assert not np.array_equal(augment(images).numpy(), augment(images).numpy())
