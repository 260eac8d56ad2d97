import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny import make_images
from tlkit import Augmentation, ConfigError
from tlkit.augmentation import AugmentedImages, _crop_box

IMAGES, _ = make_images(12, 0, size=20)


def views_of(view=1, images=IMAGES, size=16, interpolation="bilinear", **settings):
    return AugmentedImages(images, Augmentation(**settings), view, size, interpolation)


def test_a_view_depends_on_seed_view_and_image_alone():
    views = views_of()
    assert len(views) == 12
    assert views[5].shape == (16, 16, 3)
    assert views[5].dtype == np.uint8
    np.testing.assert_array_equal(views[5], views_of()[5])
    np.testing.assert_array_equal(views[5], list(views)[5])
    np.testing.assert_array_equal(views[5], views[4:6][1])
    assert not np.array_equal(views[5], views_of(view=2)[5])
    assert not np.array_equal(views[5], views_of(seed=1)[5])


def test_without_change_a_view_is_the_image():
    views = views_of(size=20, flip=False, crop=0.0, colour=0.0)
    for view, image in zip(views, IMAGES, strict=True):
        np.testing.assert_array_equal(view, image)


def test_about_half_of_the_views_are_mirrored():
    images = np.tile(IMAGES[:1], (400, 1, 1, 1))
    views = views_of(images=images, size=20, crop=0.0, colour=0.0)
    mirrored = sum(np.array_equal(view, images[0][:, ::-1]) for view in views)
    same = sum(np.array_equal(view, images[0]) for view in views)
    assert mirrored + same == 400
    assert 150 < mirrored < 250


def test_colour_changes_the_brightness_within_its_range():
    grey = np.full((200, 8, 8, 3), 100, np.uint8)
    means = [float(view.mean()) for view in views_of(images=grey, size=8, crop=0.0, colour=0.2)]
    assert min(means) >= 79
    assert max(means) <= 121
    assert np.std(means) > 5


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 2000), st.integers(1, 2000), st.floats(0, 0.99), st.integers(0, 2**32 - 1))
def test_a_crop_lies_within_the_image_and_has_its_area(width, height, crop, seed):
    generator = np.random.default_rng(seed)
    left, upper, right, lower = _crop_box(width, height, crop, generator)
    assert 0 <= left < right <= width
    assert 0 <= upper < lower <= height
    share = (right - left) * (lower - upper) / (width * height)
    assert 1 - crop - 1e-6 <= share <= 1 + 1e-6


def test_pictures_of_mixed_sizes_come_out_at_one_size():
    pictures = [IMAGES[0], IMAGES[1][:7], IMAGES[2][:, :3]]
    assert {view.shape for view in views_of(images=pictures)} == {(16, 16, 3)}


@pytest.mark.parametrize("settings", [{"crop": 1.0}, {"colour": -0.1}, {"seed": -1}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError, match=f"{next(iter(settings))} = "):
        Augmentation(**settings)
