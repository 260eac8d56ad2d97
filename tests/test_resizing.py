import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit.resizing import make_resizer, stack_resized


def layer_for(size, interpolation="bilinear"):
    return keras.layers.Resizing(size, size, interpolation=interpolation, antialias=True)


LAYER = layer_for(24)
RESIZE = make_resizer(LAYER)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_any_size_is_resized_as_the_saved_model_does(height, width, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (2, height, width, 3)).astype(np.uint8)
    found = RESIZE(pixels)
    assert found.shape == (2, 24, 24, 3)
    np.testing.assert_allclose(found, np.asarray(LAYER(pixels.astype("float32"))), atol=1e-3)


@pytest.mark.parametrize("interpolation", ["nearest", "bicubic", "lanczos3"])
@pytest.mark.parametrize("side", [10, 40])
def test_other_interpolations_are_those_of_the_layer(interpolation, side):
    layer = layer_for(24, interpolation)
    pixels = np.random.default_rng(0).integers(0, 256, (2, side, side, 3)).astype(np.uint8)
    found = make_resizer(layer)(pixels)
    np.testing.assert_allclose(found, np.asarray(layer(pixels.astype("float32"))), atol=1e-3)


def test_images_of_the_right_size_are_left_alone():
    pixels = np.zeros((2, 24, 24, 3), np.uint8)
    assert RESIZE(pixels) is pixels


def test_pictures_of_one_size_and_of_several_give_the_same():
    generator = np.random.default_rng(0)
    pictures = [generator.integers(0, 256, (30, 20, 3)).astype(np.uint8) for _ in range(3)]
    odd = generator.integers(0, 256, (24, 24, 3)).astype(np.uint8)
    together = stack_resized(pictures, RESIZE)
    mixed = stack_resized([*pictures, odd], RESIZE)
    np.testing.assert_allclose(mixed[:3], together, atol=1e-3)
    np.testing.assert_array_equal(mixed[3], odd)
    np.testing.assert_array_equal(stack_resized(np.stack(pictures), RESIZE), together)
