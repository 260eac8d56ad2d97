import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from tlkit.familiarity import fit_familiarity


def draw(count, seed):
    generator = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).normal(size=(6, 6))
    return (generator.normal(size=(count, 6)) @ mixing + 3).astype(np.float32)


def test_one_in_a_hundred_is_beyond_the_limit():
    found = fit_familiarity(("a",), draw(2000, 1), draw(1000, 2))
    assert (found.distances(draw(1000, 2)) > 1).mean() == 0.01
    assert (found.distances(draw(20_000, 3)) > 1).mean() == pytest.approx(0.01, abs=0.01)
    assert found.distances(draw(5, 4)).dtype == np.float32
    assert found.distances(found.mean[None]) == pytest.approx(0, abs=1e-6)


def test_the_distance_is_that_of_mahalanobis():
    train = draw(500, 1)
    scale = train.std(axis=0)
    fitted = LedoitWolf().fit(train / scale)
    expected = np.sqrt(fitted.mahalanobis(draw(50, 2) / scale))
    found = fit_familiarity(("a",), train, draw(100, 3))
    np.testing.assert_allclose(found.distances(draw(50, 2)) * found.limit, expected, rtol=1e-3)


def test_channels_that_never_change_and_few_images_are_no_obstacle():
    train = np.zeros((3, 20), np.float32)
    train[:, :2] = [[1, 2], [2, 1], [3, 3]]
    found = fit_familiarity(("a",), train, train)
    assert np.isfinite(found.distances(train)).all()
    train[0, 5] = 100
    assert found.distances(train)[0] > 1
    constant = fit_familiarity(("a",), np.zeros((4, 2), np.float32), np.zeros((1, 2), np.float32))
    assert np.isfinite(constant.distances(np.ones((1, 2), np.float32))).all()
