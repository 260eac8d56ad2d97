import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tlkit import Evaluation
from tlkit.calibration import measure_calibration, softmax
from tlkit.evaluation import accuracy_interval, evaluate


def test_figures_against_a_case_worked_by_hand():
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array(
        [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.3, 0.6, 0.1]], np.float32
    )
    found = evaluate(labels, probabilities, ["a", "b", "c"])
    assert found.accuracy == 0.75
    assert found.loss == pytest.approx(-np.log([0.8, 0.2, 0.8, 0.6]).mean(), abs=1e-6)
    assert found.confusion_matrix.tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    first, second, third = found.classes
    assert (first.precision, first.recall, first.support) == (1.0, 0.5, 2)
    assert (second.precision, second.recall) == (pytest.approx(2 / 3), 1.0)
    assert (third.precision, third.recall, third.f1, third.support) == (0, 0, 0, 0)
    macro, weighted = found.averages
    assert macro.recall == pytest.approx(0.5)
    assert weighted.recall == pytest.approx(0.75)
    assert found.predictions.tolist() == [0, 1, 1, 1]
    # Recall is 1/2 of class a and 1 of class b; class c has no images and does not count.
    assert found.balanced_accuracy == pytest.approx((1 / 2 + 1) / 2)
    # F1 is 2 (1 * 1/2) / (1 + 1/2) = 2/3, 2 (2/3 * 1) / (2/3 + 1) = 4/5 and 0.
    assert found.macro_f1 == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)
    assert found.top_5 is None


def test_balanced_accuracy_is_that_of_scikit_learn():
    from sklearn.metrics import balanced_accuracy_score

    labels, probabilities = draw(6, 500)
    found = evaluate(labels, probabilities, list("abcdef"))
    expected = balanced_accuracy_score(labels, probabilities.argmax(axis=1))
    assert found.balanced_accuracy == pytest.approx(expected)


def test_top_5_worked_by_hand():
    # The class of image i is the one that is i-th most probable: of eight images five are found.
    probabilities = np.tile(np.array([8, 7, 6, 5, 4, 3, 2, 1], np.float32) / 36, (8, 1))
    found = evaluate(np.arange(8), probabilities, list("abcdefgh"))
    assert found.top_5 == 5 / 8
    assert found.accuracy == 1 / 8
    assert evaluate(np.arange(5), np.full((5, 5), 0.2, np.float32), list("abcde")).top_5 is None


def test_two_classes_and_test_images_of_one_class_alone():
    probabilities = np.array([[0.6, 0.4], [0.3, 0.7]], np.float32)
    found = evaluate(np.array([1, 1]), probabilities, ["a", "b"])
    assert (found.accuracy, found.balanced_accuracy) == (0.5, 0.5)
    six = np.full((2, 6), 1 / 6, np.float32)
    assert evaluate(np.array([1, 1]), six, list("abcdef")).top_5 in (0, 1)


def draw(classes, count, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    logits = generator.normal(0, 1, (count, classes)).astype(np.float32)
    logits[np.arange(count), labels] += 1
    return labels, softmax(logits)


def test_the_interval_of_a_case_worked_by_hand():
    # One of two right: a resample has 0, 1 or 2 right ones with probabilities 1/4, 1/2, 1/4, so
    # its 2.5 % and 97.5 % quantiles are 0 and 2.
    assert accuracy_interval(1, 2) == (0, 1)
    # Many images: the normal approximation 0.8 +- 1.96 sqrt(0.8 * 0.2 / 1,000,000).
    half = 1.959964 * math.sqrt(0.8 * 0.2 / 1e6)
    found = accuracy_interval(800_000, 1_000_000)
    assert found == pytest.approx((0.8 - half, 0.8 + half), abs=2e-6)


def test_the_interval_is_the_one_that_resampling_tends_to():
    right = np.arange(300) < 250
    drawn = stats.bootstrap(
        (right.astype(float),), np.mean, n_resamples=20_000, method="percentile", random_state=0
    ).confidence_interval
    assert accuracy_interval(250, 300) == pytest.approx((drawn.low, drawn.high), abs=0.004)


@pytest.mark.parametrize(("share", "images"), [(0.8, 1000), (0.95, 300), (0.5, 100)])
def test_the_interval_holds_the_true_accuracy_in_95_of_100_test_sets(share, images):
    generator = np.random.default_rng(0)
    test_sets = generator.random((2000, images)) < share
    intervals = [accuracy_interval(int(right), images) for right in test_sets.sum(axis=1)]
    held = np.mean([low <= share <= high for low, high in intervals])
    assert 0.935 <= held <= 0.98  # the standard error of this share is 0.005


def test_where_all_answers_are_right_the_interval_has_a_width():
    # Clopper and Pearson: the lowest accuracy that gets 30 of 30 with a probability of 2.5 %.
    assert accuracy_interval(30, 30) == pytest.approx((0.025 ** (1 / 30), 1))
    assert accuracy_interval(0, 30) == pytest.approx((0, 1 - 0.025 ** (1 / 30)))


@given(st.integers(1, 10**7), st.floats(0, 1))
def test_the_interval_holds_what_was_seen(total, share):
    right = round(share * total)
    low, high = accuracy_interval(right, total)
    assert 0 <= low <= right / total <= high <= 1


def test_the_calibration_is_kept_and_measured_where_none_is_given():
    labels, probabilities = draw(6, 500)
    logits = np.log(probabilities)
    calibration = measure_calibration(labels, logits, 1.5, applied=True)
    found = evaluate(labels, softmax(logits, 1.5), list("abcdef"), calibration)
    assert found.calibration is calibration
    assert found.loss == calibration.calibrated.loss
    plain = evaluate(labels, probabilities, list("abcdef")).calibration
    assert plain.temperature is None
    assert plain.reason
    assert plain.uncalibrated.expected_calibration_error == pytest.approx(
        calibration.uncalibrated.expected_calibration_error
    )


def test_an_evaluation_may_leave_out_what_came_later():
    old = Evaluation(
        0.5, 1.0, np.arange(2), np.eye(2, dtype=np.float32), np.eye(2, dtype=int), (), ()
    )
    assert old.accuracy_interval is old.balanced_accuracy is old.top_5 is old.macro_f1 is None
    assert old.calibration is None
