import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit import ConfigError, TestTimeAugmentation
from tlkit.test_time_augmentation import PLAIN, FixedView, resizer_of_view

IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 20, 20, 3)).astype(np.float32)


def of(view, images=IMAGES):
    return np.asarray(view.of(images, "bilinear"))


def test_the_image_itself_comes_first_and_alone_by_default():
    assert TestTimeAugmentation().views == (PLAIN,)
    views = TestTimeAugmentation(mirror=True, scales=[0.8]).views
    assert views == (PLAIN, FixedView(True), FixedView(False, 0.8), FixedView(True, 0.8))
    assert [view.label for view in views] == ["", "mirrored", "scale 0.8", "scale 0.8, mirrored"]


@pytest.mark.parametrize("scales", [[0.4], [2.5], [1.0], [0.8, 0.8], [float("nan")]])
def test_scales_that_make_no_sense_are_refused(scales):
    with pytest.raises(ConfigError, match=r"\[test_time_augmentation\] scales = .* not allowed"):
        TestTimeAugmentation(scales=scales)


def test_a_mirrored_view_is_the_image_read_from_right_to_left():
    np.testing.assert_array_equal(of(FixedView(True)), IMAGES[:, :, ::-1])


def test_an_enlarged_view_is_the_middle():
    images = np.zeros_like(IMAGES)
    images[:, 5:15, 5:15] = 100
    assert (of(FixedView(scale=2.0), images) == 100).all()


def test_a_shrunk_view_is_the_whole_image_with_its_reflection_around_it():
    import keras

    view = of(FixedView(scale=0.5))
    small = keras.layers.Resizing(10, 10, antialias=True)(IMAGES)
    np.testing.assert_allclose(view[:, 5:15, 5:15], small, atol=1e-3)
    np.testing.assert_allclose(view[:, 5:15, 4], np.asarray(small)[:, :, 1], atol=1e-3)
    np.testing.assert_allclose(view[:, 15, 5:15], np.asarray(small)[:, 8], atol=1e-3)


@settings(deadline=None, max_examples=30)
@given(st.integers(8, 50), st.floats(0.5, 2.0), st.booleans())
def test_every_view_has_the_size_of_the_image(size, scale, mirrored):
    images = np.full((1, size, size, 3), 7, np.float32)
    view = of(FixedView(mirrored, scale), images)
    assert view.shape == images.shape
    np.testing.assert_allclose(view, 7, rtol=1e-5)


def test_extraction_takes_the_view_after_resizing():
    def resize(pixels):
        return np.repeat(np.repeat(pixels, 2, axis=1), 2, axis=2)

    assert resizer_of_view(PLAIN, 40, "bilinear", resize) is resize
    mirrored = resizer_of_view(FixedView(True), 40, "bilinear", resize)
    pixels = IMAGES.astype(np.uint8)
    np.testing.assert_array_equal(mirrored(pixels), resize(pixels)[:, :, ::-1])
