import keras
import numpy as np
import pytest

from tests.testing.broken_layers import CountingAlways
from tests.tiny import TinyBackbone, make_images
from tlkit import PluginError, Registry
from tlkit.builtin.engines.openvino import OpenVINO
from tlkit.builtin.engines.tensorflow import TensorFlow
from tlkit.builtin.heads.linear import Linear
from tlkit.model import assemble

ENGINES = {"tensorflow": TensorFlow, "openvino": OpenVINO}


@pytest.fixture(scope="module")
def tiny():
    return assemble(TinyBackbone(), Linear(), 3)


@pytest.fixture
def engine(request):
    found = ENGINES[request.param]()
    if not found.is_installed():
        pytest.skip(f"{found.module} is not installed")
    return found


def features_of(model, pixels):
    return model.features(pixels.astype(np.float32), training=False).numpy()


@pytest.mark.parametrize("engine", ENGINES, indirect=True)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_features_are_those_of_keras_whatever_the_batch(engine, dtype, tiny):
    pixels = make_images(9, 0, size=16)[0].astype(dtype)
    before = pixels.copy()
    forward = engine.compile(tiny.features)
    for count in (9, 1, 4):
        found = forward(pixels[:count])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, features_of(tiny, pixels[:count]), atol=1e-5)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("engine", ENGINES, indirect=True)
def test_results_stay_when_the_engine_runs_again(engine, tiny):
    first, second = (make_images(4, seed, size=16)[0] for seed in (0, 1))
    forward = engine.compile(tiny.features)
    kept = forward(first)
    forward(second)
    np.testing.assert_allclose(kept, features_of(tiny, first), atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES, indirect=True)
def test_several_threads_may_call_it(engine, tiny):
    from concurrent.futures import ThreadPoolExecutor

    batches = [make_images(5, seed, size=16)[0] for seed in range(24)]
    forward = engine.compile(tiny.features)
    with ThreadPoolExecutor(4) as pool:
        for found, pixels in zip(pool.map(forward, batches), batches, strict=True):
            np.testing.assert_allclose(found, features_of(tiny, pixels), atol=1e-5)


@pytest.mark.parametrize("engine", ["openvino"], indirect=True)
def test_bfloat16_is_another_precision_and_close(engine, tiny):
    rough = OpenVINO(precision="bfloat16")
    assert rough.precision == "bfloat16"
    pixels = make_images(8, 0, size=16)[0]
    found, expected = rough.compile(tiny.features)(pixels), features_of(tiny, pixels)
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_they_are_registered():
    registry = Registry(entry_points=False)
    assert {entry.name for entry in registry.list("engine")} == set(ENGINES)


def test_openvino_is_converted_without_its_reporting_converter():
    """``openvino.convert_model`` tells Intel about its use unless the user opted out."""
    import inspect

    from tlkit.builtin.engines import openvino

    assert "convert_model" not in inspect.getsource(openvino)


def test_a_frozen_layer_that_changes_its_weights_is_the_backbones_fault():
    model = keras.Sequential([keras.Input((4, 4, 3)), CountingAlways()])
    with pytest.raises(PluginError, match=r"change its weights .*`tlkit check` of the backbone"):
        TensorFlow().compile(model)
