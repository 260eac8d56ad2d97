import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.export.conftest import answers, make_model, pictures
from tlkit import ExportError
from tlkit.export.matrix_resizing import KERNELS, matrix_resizing, resize
from tlkit.export.tracing import trace


@pytest.mark.parametrize("interpolation", sorted(KERNELS))
@pytest.mark.parametrize(
    ("old", "new"),
    [((5, 9), (16, 16)), ((40, 33), (16, 12)), ((8, 64), (16, 16)), ((7, 7), (7, 7))],
)
def test_it_equals_keras(interpolation, old, new):
    pixels = pictures(old).astype("float32")
    layer = keras.layers.Resizing(*new, interpolation=interpolation, antialias=True)
    found = resize(tf.constant(pixels), *new, interpolation, True)
    # Of 255; TensorFlow computes the places of the old pixels in float32 too.
    np.testing.assert_allclose(found, layer(pixels), atol=0.02)


sides = st.integers(1, 70)


@settings(max_examples=40)
@given(sides, sides, sides, sides, st.booleans())
def test_any_size_to_any_size(height, width, new_height, new_width, antialias):
    pixels = pictures((height, width), 1).astype("float32")
    layer = keras.layers.Resizing(new_height, new_width, antialias=antialias)
    found = resize(tf.constant(pixels), new_height, new_width, "bilinear", antialias)
    np.testing.assert_allclose(found, layer(pixels), atol=0.02)


def test_what_is_equal_everywhere_stays_so():
    pixels = np.full((1, 31, 50, 3), 255, np.float32)
    for interpolation in KERNELS:
        found = resize(tf.constant(pixels), 16, 77, interpolation, True)
        np.testing.assert_allclose(found, 255, atol=0.01)


def test_the_layers_are_as_before_when_the_model_was_traced(model):
    layer = model.get_layer("resize")
    with matrix_resizing(model):
        assert "call" in layer.__dict__
    assert "call" not in layer.__dict__
    with pytest.raises(ZeroDivisionError), matrix_resizing(model):
        raise ZeroDivisionError
    assert "call" not in layer.__dict__


@pytest.mark.parametrize("interpolation", ["bicubic", "lanczos3", "nearest"])
def test_a_model_that_resizes_in_another_way(interpolation):
    model = make_model(interpolation=interpolation)
    pixels = pictures((40, 33))
    (found,) = trace(model).function(tf.constant(pixels))
    np.testing.assert_allclose(found, answers(model, pixels), atol=1e-4)


def test_a_layer_that_crops_is_refused():
    inputs = keras.Input((None, None, 3))
    layer = keras.layers.Resizing(8, 8, crop_to_aspect_ratio=True, name="cut")
    model = keras.Model(inputs, layer(inputs))
    with pytest.raises(ExportError, match=r"'cut' resizes in a way.*--to keras,savedmodel"):
        trace(model)


def test_the_graph_holds_no_operation_that_resizes(augmented):
    names = {node.op for node in trace(augmented).definition.node}
    assert not [name for name in names if "Resize" in name or "Scale" in name]
    assert not [name for name in names if "Variable" in name]
