from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from tests.tiny import CLASS_NAMES, make_images, make_tiny_trainer
from tlkit import (
    Classifier,
    ConfigError,
    DataError,
    Engine,
    EngineError,
    Registry,
    RunFolderError,
    TestTimeAugmentation,
    UnknownPluginError,
    engine_choice,
)
from tlkit.features import FeatureStore
from tlkit.model_parts import find_parts

IMAGES, _ = make_images(20, seed=5)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose model has all that can stand between the pixels and the probabilities."""
    views = TestTimeAugmentation(mirror=True, scales=(1.25,))
    folder = tmp_path_factory.mktemp("classifier")
    return make_tiny_trainer(folder, calibrate=True, test_time_augmentation=views).run()


def open_run(run, tmp_path, engine="auto", **settings):
    settings = {"registry": Registry(entry_points=False), **settings}
    return Classifier.open(
        run.folder, engine, store=FeatureStore(tmp_path / "features"), **settings
    )


@pytest.fixture(scope="module")
def opened(run, tmp_path_factory):
    return open_run(run, tmp_path_factory.mktemp("store"), "tensorflow", features=True)


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_it_answers_as_the_saved_model_does(run, tmp_path, engine):
    if engine == "openvino":
        pytest.importorskip("openvino")
    opened = open_run(run, tmp_path, engine)
    expected = run.model.predict_on_batch(IMAGES)
    assert opened.engine == engine
    assert opened.class_names == CLASS_NAMES
    assert opened.image_size == 16
    pixels = np.stack([opened.resize(image) for image in IMAGES])
    assert pixels.shape == (20, 16, 16, 3)
    np.testing.assert_allclose(opened.probabilities(pixels), expected, atol=1e-5)
    np.testing.assert_allclose(opened.stack(IMAGES), pixels)
    assert opened.answer(pixels).features is None


def test_the_features_are_what_the_head_receives_of_the_image_as_it_is(opened):
    pixels = opened.stack(IMAGES)
    found = opened.answer(pixels)
    parts = find_parts(opened.model)
    maps = parts.backbone.predict_on_batch(pixels / np.float32(255))
    np.testing.assert_allclose(found.features, maps.mean(axis=(1, 2)), atol=1e-5)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-5)
    assert found.features.base is None


def test_a_head_that_takes_maps_has_their_means_as_features(tmp_path):
    from tlkit import Head

    class Maps(Head):
        name = "maps"
        pooling = None

        def build(self, feature_shape, num_classes):
            flat = [keras.layers.Flatten(), keras.layers.Dense(num_classes)]
            return keras.Sequential([keras.Input(feature_shape), *flat])

    run = make_tiny_trainer(tmp_path, head=Maps()).run()
    opened = open_run(run, tmp_path, "tensorflow", features=True)
    found = opened.answer(opened.stack(IMAGES))
    assert found.features.shape == (20, 16)
    np.testing.assert_allclose(found.probabilities, run.model.predict_on_batch(IMAGES), atol=1e-5)


def test_features_of_inner_layers_are_the_means_of_their_maps(run, tmp_path):
    names = ("relu_1", "norm_2")
    opened = open_run(run, tmp_path, "tensorflow", features=names)
    pixels = opened.stack(IMAGES)
    found = opened.answer(pixels)
    network = find_parts(opened.model).backbone
    maps = keras.Model(network.inputs, [network.get_layer(name).output for name in names])
    expected = [part.mean(axis=(1, 2)) for part in maps.predict_on_batch(pixels / np.float32(255))]
    np.testing.assert_allclose(found.features, np.concatenate(expected, axis=1), atol=1e-5)
    np.testing.assert_allclose(found.probabilities, run.model.predict_on_batch(IMAGES), atol=1e-5)
    with pytest.raises(RunFolderError, match=r"is another one: .*nothing"):
        open_run(run, tmp_path, "tensorflow", features=("nothing",))


def test_pictures_of_its_size_stay_as_they_are(run, opened):
    pixels, _ = make_images(3, seed=1, size=16)
    assert opened.resize(pixels[0]).dtype == np.uint8
    np.testing.assert_array_equal(opened.stack(pixels), pixels)
    expected = run.model.predict_on_batch(pixels)
    np.testing.assert_allclose(opened.probabilities(pixels), expected, atol=1e-5)


def test_many_threads_get_the_answers_that_one_gets(opened):
    pixels = opened.stack(IMAGES)
    expected = opened.probabilities(pixels)
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda row: opened.probabilities(pixels[row : row + 1]), range(20)))
    np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("pixels", "problem"),
    [
        (np.zeros((1, 12, 12, 3), np.uint8), r"of shape \(1, 12, 12, 3\); allowed: \(N, 16"),
        (np.zeros((16, 16, 3), np.uint8), "of shape"),
        (np.zeros((0, 16, 16, 3), np.uint8), "1 or more"),
        (np.zeros((1, 16, 16, 3)), "of float64; allowed: uint8 and float32"),
        ("pixels", "of shape"),
    ],
)
def test_other_pixels_are_refused(opened, pixels, problem):
    with pytest.raises(DataError, match=problem):
        opened.probabilities(pixels)


def test_where_memory_runs_out_batches_are_halved(opened, monkeypatch):
    pixels = opened.stack(IMAGES)
    expected = opened.answer(pixels)
    forward, sizes = opened._forward, []

    def small(views):
        sizes.append(len(views))
        if len(views) > 24:
            raise MemoryError
        return forward(views)

    monkeypatch.setattr(opened, "_forward", small)
    found = opened.answer(pixels)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)
    np.testing.assert_allclose(found.features, expected.features, atol=1e-5)
    assert max(sizes) == 80
    assert sizes.count(20) == 4


class Shifted(Engine):
    """TensorFlow with another answer."""

    name = "shifted"

    def __init__(self, by: float = 0.1) -> None:
        self.by = by

    def compile(self, model):
        factor = 1 + self.by
        return lambda pixels: model(pixels.astype(np.float32), training=False).numpy() * factor


def test_an_engine_that_answers_otherwise_is_refused_by_name_and_never_chosen(
    run, tmp_path, monkeypatch
):
    monkeypatch.setattr(engine_choice, "MEASURED_SECONDS", 0.0)
    registry = Registry(entry_points=False)
    registry.register(Shifted)
    with pytest.raises(EngineError, match=r"'shifted' does not answer as.*probabilities differ"):
        open_run(run, tmp_path, "shifted", registry=registry)
    opened = open_run(run, tmp_path, registry=registry)
    assert opened.engine != "shifted"
    assert {trial.engine: trial.accepted for trial in opened.trials}["shifted"] is False
    exact = {"name": "shifted", "by": 0.0}
    assert open_run(run, tmp_path, exact, registry=registry).engine == "shifted"


def test_for_a_few_pictures_no_engine_is_tried(run, tmp_path):
    opened = open_run(run, tmp_path, images=10)
    assert (opened.engine, opened.trials) == ("tensorflow", ())


def test_without_kept_test_images_engines_are_compared_on_noise(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_choice, "MEASURED_SECONDS", 0.0)
    run = make_tiny_trainer(tmp_path, test_images=False).run()
    seen = []

    class Watching(Shifted):
        name = "watching"

        def compile(self, model):
            inner = super().compile(model)
            return lambda pixels: (seen.append(pixels.shape), inner(pixels))[1]

    open_run(run, tmp_path, Watching(0.0))
    assert seen[0] == (engine_choice.PROBE_IMAGES, 16, 16, 3)


def test_what_cannot_be_opened_is_named(run, tmp_path):
    with pytest.raises(UnknownPluginError, match=r"Unknown engine 'openvin'"):
        open_run(run, tmp_path, "openvin")
    with pytest.raises(ConfigError, match=r"Cannot use .* as engine"):
        open_run(run, tmp_path, {"name": "auto", "precision": "bfloat16"})
    with pytest.raises(RunFolderError, match="There is no run folder"):
        Classifier.open(tmp_path / "nothing")


def test_a_model_of_other_origin_is_refused(run, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run.folder, copy)
    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.Flatten()(inputs)
    keras.Model(inputs, outputs).save(copy / "model.keras")
    with pytest.raises(
        RunFolderError, match="was not saved by tlkit: it does not end in a softmax"
    ):
        Classifier.open(copy, "tensorflow", registry=Registry(entry_points=False))
