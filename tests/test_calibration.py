import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tlkit import ReliabilityBin
from tlkit.calibration import (
    BINS,
    LEAST_TEMPERATURE,
    MOST_TEMPERATURE,
    cross_entropy,
    fit_temperature,
    measure_calibration,
    reliability,
    softmax,
)

LOGITS = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 40), st.integers(2, 6)),
    elements=st.floats(-60, 60, width=32),
)


@st.composite
def answers(draw):
    logits = draw(LOGITS)
    count, classes = logits.shape
    labels = draw(arrays.arrays(np.int64, count, elements=st.integers(0, classes - 1)))
    return labels, logits


def simulate(temperature, count=20_000, classes=5, seed=0):
    """Labels that are drawn from the probabilities which the logits have at a temperature."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 3, (count, classes)).astype(np.float32)
    # The largest of logits plus Gumbel noise is a draw from their softmax.
    noise = generator.gumbel(size=logits.shape)
    return (logits / temperature + noise).argmax(axis=1), logits


def test_calibration_error_against_a_case_worked_by_hand():
    labels = np.array([0, 1, 1, 0])
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.38, 0.62], [0.98, 0.02]], np.float32)
    found = reliability(labels, probabilities)
    # Bins are 1/15 = 0.0667 wide. Two images at 0.90 lie in (0.8667, 0.9333], one of them right;
    # one at 0.62 lies in (0.6, 0.6667], one at 0.98 in (0.9333, 1], both right:
    # 2/4 |0.5 - 0.9| + 1/4 |1 - 0.62| + 1/4 |1 - 0.98| = 0.2 + 0.095 + 0.005 = 0.3
    assert found.expected_calibration_error == pytest.approx(0.3, abs=1e-6)
    assert [(item.count, item.accuracy) for item in found.bins] == [(1, 1.0), (2, 0.5), (1, 1.0)]
    assert [item.confidence for item in found.bins] == pytest.approx([0.62, 0.9, 0.98], abs=1e-6)
    assert [item.lower for item in found.bins] == pytest.approx([9 / 15, 13 / 15, 14 / 15])
    assert [item.upper for item in found.bins] == pytest.approx([10 / 15, 14 / 15, 1])
    expected = -(math.log(0.9) + math.log(0.1) + math.log(0.62) + math.log(0.98)) / 4
    assert found.loss == pytest.approx(expected, abs=1e-6)


def test_the_error_by_chance_worked_by_hand():
    # Two images of confidence 0.8 and two of 0.5 (bins 12 and 8): the numbers of right answers have
    # the variances 2 * 0.8 * 0.2 = 0.32 and 2 * 0.5 * 0.5 = 0.5. The mean distance from the
    # expectation is sqrt(2 / pi) = 0.7979 of the standard deviations 0.5657 and 0.7071, so that
    # 0.7979 * (0.5657 + 0.7071) / 4 = 0.2539
    probabilities = np.array([[0.8, 0.2], [0.8, 0.2], [0.5, 0.5], [0.5, 0.5]], np.float32)
    found = reliability(np.zeros(4, np.int64), probabilities)
    assert found.error_by_chance == pytest.approx(0.2539, abs=1e-4)
    sure = reliability(np.zeros(4, np.int64), np.tile(np.array([1, 0], np.float32), (4, 1)))
    assert sure.error_by_chance == sure.expected_calibration_error == 0


@pytest.mark.parametrize("count", [100, 1000])
def test_a_calibrated_model_has_the_error_by_chance(count):
    found = []
    for seed in range(200):
        labels, logits = simulate(1.0, count=count, classes=10, seed=seed)
        found.append(reliability(labels, softmax(logits)))
    simulated = np.mean([item.expected_calibration_error for item in found])
    assert np.mean([item.error_by_chance for item in found]) == pytest.approx(simulated, rel=0.05)


def test_an_edge_belongs_to_the_bin_below_it():
    third = np.full((1, 3), 1 / 3, np.float64)  # 5/15, the edge of the fifth and the sixth bin
    assert reliability(np.array([0]), third).bins == (
        ReliabilityBin(pytest.approx(4 / 15), pytest.approx(5 / 15), pytest.approx(1 / 3), 1.0, 1),
    )
    sure = np.array([[1.0, 0.0]], np.float32)
    assert reliability(np.array([0]), sure).bins[0].upper == 1.0


def test_bins_are_those_of_scikit_learn():
    from sklearn.calibration import calibration_curve

    labels, logits = simulate(1.7)
    probabilities = softmax(logits)
    found = reliability(labels, probabilities)
    accuracies, confidences = calibration_curve(
        probabilities.argmax(axis=1) == labels, probabilities.max(axis=1), n_bins=BINS
    )
    assert [item.accuracy for item in found.bins] == pytest.approx(accuracies)
    assert [item.confidence for item in found.bins] == pytest.approx(confidences, abs=1e-6)
    shares = np.array([item.count for item in found.bins]) / len(labels)
    assert found.expected_calibration_error == pytest.approx(
        np.sum(shares * abs(accuracies - confidences)), abs=1e-6
    )


@given(answers())
def test_every_image_is_in_one_bin_and_the_error_is_a_share(case):
    labels, logits = case
    found = reliability(labels, softmax(logits))
    assert sum(item.count for item in found.bins) == len(labels)
    assert 0 <= found.expected_calibration_error <= 1
    assert 0 <= found.error_by_chance <= 1
    right = sum(item.accuracy * item.count for item in found.bins)
    assert right == pytest.approx(np.sum(softmax(logits).argmax(axis=1) == labels))
    for item in found.bins:
        assert item.lower - 1e-6 <= item.confidence <= item.upper + 1e-6


def test_a_probability_of_zero_has_a_finite_loss():
    assert 30 < cross_entropy(np.array([1]), np.array([[1, 0]], np.float32)) < 40


def test_a_temperature_worked_by_hand():
    # Two classes, all logits (2 ln 3, 0): softmax of (2 ln 3) / T is 1 / (1 + 3 ** (-2 / T)).
    # Three of four answers are right, and the loss is lowest where the probability is that share:
    # 1 / (1 + 3 ** (-2 / T)) = 3 / 4, so 3 ** (-2 / T) = 1 / 3, so T = 2.
    logits = np.tile(np.array([2 * math.log(3), 0], np.float32), (4, 1))
    labels = np.array([0, 0, 0, 1])
    assert fit_temperature(labels, logits) == pytest.approx(2, rel=1e-3)
    found = measure_calibration(labels, logits, 2.0)
    # Without a temperature the confidence is 9 / 10, with it 3 / 4, and the accuracy is 3 / 4.
    assert found.uncalibrated.expected_calibration_error == pytest.approx(0.15, abs=1e-6)
    assert found.calibrated.expected_calibration_error == pytest.approx(0, abs=1e-6)
    assert found.calibrated.loss == pytest.approx(
        -(3 * math.log(0.75) + math.log(0.25)) / 4, abs=1e-6
    )
    assert found.saved == found.uncalibrated
    assert measure_calibration(labels, logits, 2.0, applied=True).saved == found.calibrated


@pytest.mark.parametrize("temperature", [0.2, 0.7, 1.0, 1.5, 4.0])
def test_a_known_temperature_is_found_again(temperature):
    labels, logits = simulate(temperature)
    assert fit_temperature(labels, logits) == pytest.approx(temperature, rel=0.05)
    other_labels, other_logits = simulate(temperature, seed=1)
    found = measure_calibration(other_labels, other_logits, temperature)
    assert found.calibrated.expected_calibration_error < 0.015


def test_the_temperature_is_that_of_scikit_learn():
    pytest.importorskip("sklearn", minversion="1.8")
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    class Logits(ClassifierMixin, BaseEstimator):
        def fit(self, x, y):
            self.classes_ = np.unique(y)
            return self

        def decision_function(self, x):
            return x

        def predict(self, x):
            return x.argmax(axis=1)

    labels, logits = simulate(1.6, count=2_000)
    frozen = FrozenEstimator(Logits().fit(logits, labels))
    fitted = CalibratedClassifierCV(frozen, method="temperature").fit(logits, labels)
    temperature = fit_temperature(labels, logits)
    expected = fitted.predict_proba(logits)
    np.testing.assert_allclose(softmax(logits, temperature), expected, atol=1e-4)


def test_logarithms_of_probabilities_serve_as_logits():
    labels, logits = simulate(1.6, count=2_000)
    expected = fit_temperature(labels, logits)
    found = fit_temperature(labels, np.log(softmax(logits)))
    assert found == pytest.approx(expected, rel=1e-3)


def test_where_the_images_set_no_temperature_there_is_none():
    _, logits = simulate(1.0, count=100)
    assert fit_temperature(logits.argmax(axis=1), logits) is None, "all right"
    assert fit_temperature(logits.argmin(axis=1), logits) is None, "worse than chance"
    equal = np.full((9, 3), 7, np.float32)
    assert fit_temperature(np.arange(9) % 3, equal) is None, "any is as good"


@settings(max_examples=200)
@given(answers(), st.floats(LEAST_TEMPERATURE, MOST_TEMPERATURE))
def test_a_temperature_changes_no_answer(case, temperature):
    _, logits = case
    probabilities = softmax(logits, temperature)
    # Logits that differ by less than a float32 can tell may become equal, and none overtakes.
    chosen = probabilities[np.arange(len(logits)), logits.argmax(axis=1)]
    np.testing.assert_array_equal(chosen, probabilities.max(axis=1))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


@settings(max_examples=200)
@given(answers())
def test_the_temperature_that_is_found_never_makes_the_loss_higher(case):
    labels, logits = case
    temperature = fit_temperature(labels, logits)
    if temperature is None:
        return
    assert LEAST_TEMPERATURE < temperature < MOST_TEMPERATURE
    wide = logits.astype(np.float64)

    def loss(value):
        scaled = wide / value
        true = scaled[np.arange(len(labels)), labels]
        return (np.logaddexp.reduce(scaled, axis=1) - true).mean()

    assert loss(temperature) <= loss(1.0) + 1e-3
