import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from tlkit.explain import projection
from tlkit.explain.projection import project


def _clusters(count=90, channels=64):
    generator = np.random.default_rng(0)
    labels = np.arange(count) % 3
    centres = generator.normal(0, 10, (3, channels))
    return (centres[labels] + generator.normal(0, 1, (count, channels))).astype("float32"), labels


@pytest.fixture
def without_umap(monkeypatch):
    monkeypatch.setattr(projection.importlib.util, "find_spec", lambda name: None)


def test_classes_that_lie_apart_lie_apart_in_each_map(without_umap):
    features, labels = _clusters()
    found = project(features)
    assert [item.name for item in found] == ["pca", "t-sne"]
    for item in found:
        assert item.points.shape == (90, 2)
        assert item.points.dtype == np.float32
        classifier = KNeighborsClassifier(5).fit(item.points[:60], labels[:60])
        assert classifier.score(item.points[60:], labels[60:]) > 0.95


def test_pca_is_that_of_the_covariance_and_its_axes_say_the_variance(without_umap):
    features, _ = _clusters()
    (pca, _) = project(features)
    centred = features - features.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(centred.T))
    first = centred @ vectors[:, -1]
    assert abs(np.corrcoef(first, pca.points[:, 0])[0, 1]) > 0.9999
    share = 100 * values[-1] / values.sum()
    assert f"({share:.0f} % of the variance)" in pca.axes[0]


def test_maps_are_the_same_each_time(without_umap):
    features, _ = _clusters()
    for first, second in zip(project(features), project(features), strict=True):
        np.testing.assert_array_equal(first.points, second.points)


@pytest.mark.parametrize("shape", [(4, 3), (5, 1), (40, 2)])
def test_few_images_and_few_features(without_umap, shape):
    features = np.random.default_rng(0).normal(size=shape).astype("float32")
    assert all(np.isfinite(item.points).all() for item in project(features))


@pytest.mark.filterwarnings("error")
def test_features_that_do_not_vary(without_umap):
    assert all(np.isfinite(item.points).all() for item in project(np.ones((8, 4), "float32")))


def test_umap_is_drawn_where_it_is_installed(monkeypatch):
    made = []

    class UMAP:
        def __init__(self, **options):
            made.append(options)

        def fit_transform(self, features):
            return features[:, :2]

    monkeypatch.setattr(projection.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=UMAP))
    found = project(_clusters(12)[0])
    assert [item.name for item in found] == ["pca", "t-sne", "umap"]
    assert made == [{"n_neighbors": 11, "random_state": 0}]


def test_umap_itself():
    pytest.importorskip("umap")
    features, labels = _clusters()
    found = {item.name: item for item in project(features)}["umap"]
    classifier = KNeighborsClassifier(5).fit(found.points[:60], labels[:60])
    assert classifier.score(found.points[60:], labels[60:]) > 0.95
