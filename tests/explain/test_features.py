import numpy as np
import pytest

from tests.explain.squares import Squares
from tlkit import TestTimeAugmentation, Trainer, load_run
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain
from tlkit.explain.features import features_of
from tlkit.explain.parts import find_parts
from tlkit.explain.test_set import load_test_images
from tlkit.features import FeatureStore
from tlkit.run_folder import load_model

BACKBONE = {"name": "mobilenet_v2", "alpha": 0.35, "weights": "cifar10", "image_size": 32}
ROWS = np.array([0, 5, 17, 301])


def _run(folder, store, head, **settings):
    workflow = FreezeAndTrain(1)
    return Trainer(
        BACKBONE, head, "digits", workflow, [], runs=folder, store=store, **settings
    ).run()


def _features(run, store):
    loaded = load_run(run.folder)
    model = load_model(run.folder)
    split = load_test_images(loaded)
    return features_of(loaded, model, find_parts(model), split, ROWS, store)


@pytest.mark.parametrize(
    ("head", "feature_type"), [("linear", "float32"), ({"name": "knn", "k": 3}, "float16")]
)
def test_stored_features_are_those_that_the_model_computes(tmp_path, head, feature_type):
    store = FeatureStore(tmp_path / "store")
    run = _run(tmp_path, store, head, feature_type=feature_type)
    stored, source = _features(run, store)
    assert source == "store"
    computed, source = _features(run, FeatureStore(tmp_path / "nothing"))
    assert source == "model"
    assert stored.shape == (4, 1280)
    assert stored.dtype == np.float32
    assert stored.std() > 0.01
    tolerance = 1e-5 if feature_type == "float32" else 2e-3
    np.testing.assert_allclose(stored, computed, atol=tolerance, rtol=tolerance)


def test_of_a_model_with_views_they_are_those_of_the_images_as_they_are(tmp_path):
    looks = TestTimeAugmentation(mirror=True, scales=(0.75,))
    store = FeatureStore(tmp_path / "store")
    run = _run(tmp_path, store, "linear", test_time_augmentation=looks)
    stored, source = _features(run, store)
    assert source == "store"
    computed, source = _features(run, FeatureStore(tmp_path / "nothing"))
    assert source == "model"
    np.testing.assert_allclose(stored, computed, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_a_fine_tuned_backbone_does_not_get_the_frozen_ones_features(tmp_path):
    store = FeatureStore(tmp_path / "store")
    workflow = FreezeAndTrain(1, fine_tune_epochs=1, unfreeze=1, augment=False)
    run = Trainer(BACKBONE, "linear", "digits", workflow, [], runs=tmp_path, store=store).run()
    assert store.entries()
    assert _features(run, store)[1] == "model"


def test_a_backbone_that_is_a_python_object_is_computed(squares_run, tmp_path):
    run, model = load_run(squares_run.folder), load_model(squares_run.folder)
    split = load_test_images(run, Squares())
    rows = np.arange(40)
    found, source = features_of(run, model, find_parts(model), split, rows)
    assert source == "model"
    assert found.shape == (40, 16)
    # The head makes the recorded probabilities of them.
    logits = find_parts(model).head.predict_on_batch(found)
    np.testing.assert_array_equal(logits.argmax(axis=1), run.test.predictions)
