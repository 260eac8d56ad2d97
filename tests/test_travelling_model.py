import numpy as np
import pytest

from tests.tiny import TinyBackbone
from tlkit import EngineError
from tlkit.builtin.engines.openvino import OpenVINO
from tlkit.builtin.engines.tensorflow import TensorFlow
from tlkit.builtin.heads.linear import Linear
from tlkit.model import assemble
from tlkit.travelling_model import packed_model, unpacked_model


@pytest.fixture(scope="module")
def model():
    return assemble(TinyBackbone(), Linear(), 3).features


@pytest.mark.parametrize("engine", [TensorFlow(), OpenVINO()])
def test_engines_run_what_was_unpacked_as_they_run_the_model(model, engine):
    again = unpacked_model(packed_model(model), model.input_shape[1:], model.output_shape[1:])
    assert again.output_shape == model.output_shape
    pixels = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3)).astype(np.uint8)
    expected = engine.compile(model)(pixels)
    np.testing.assert_allclose(engine.compile(again)(pixels), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(again.predict(pixels, verbose=0), expected, rtol=1e-4, atol=1e-5)


def test_a_model_that_is_too_large_is_one_error(model, monkeypatch):
    def too_large(self):
        raise ValueError("Message tensorflow.GraphDef exceeds maximum protobuf size of 2GB")

    import tensorflow as tf

    monkeypatch.setattr(tf.compat.v1.GraphDef, "SerializeToString", too_large)
    with pytest.raises(EngineError, match=r"2GB.*distribute = 'none'"):
        packed_model(model)
