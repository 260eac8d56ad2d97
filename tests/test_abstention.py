import numpy as np
import pytest
from scipy import stats

from tlkit import ConfigError
from tlkit.abstention import GUARANTEE, fit_abstention, fit_threshold
from tlkit.evaluation import evaluate


def draw(count, seed):
    """Answers of two classes whose confidences are true."""
    generator = np.random.default_rng(seed)
    sure = generator.uniform(0.5, 1, count).astype(np.float32)
    labels = (generator.uniform(size=count) > sure).astype(np.int64)
    return labels, np.stack([sure, 1 - sure], axis=1)


def accuracy_above(threshold):
    """The true accuracy of answers with a confidence of the threshold or more."""
    return (1 + threshold) / 2


def test_the_promise_is_kept_more_often_than_it_says():
    target = 0.8
    kept = [
        accuracy_above(fit_threshold(*draw(1000, seed), target)[0]) >= target for seed in range(200)
    ]
    # It would be broken 10 times in 200; the probability of 20 or more is below 0.2 %.
    assert kept.count(False) < 20


def test_more_images_lead_to_fewer_abstentions():
    few, many = (fit_threshold(*draw(count, 1), 0.8)[0] for count in (1000, 30_000))
    assert 0.6 <= many < few
    assert many == pytest.approx(0.6, abs=0.03)


def test_the_bound_is_that_of_clopper_and_pearson():
    labels = np.zeros(64, np.int64)
    labels[-1] = 1
    probabilities = np.tile(np.float32([0.9, 0.1]), (64, 1))
    threshold, accuracy = fit_threshold(labels, probabilities, 0.85)
    assert threshold == np.float32(0.9)
    level = (1 - GUARANTEE) / 7
    assert stats.binom.cdf(1, 64, 1 - accuracy) == pytest.approx(level)


def test_images_of_one_confidence_are_answered_together():
    labels = np.array([0] * 60 + [1] * 60)
    probabilities = np.tile(np.float32([0.8, 0.2]), (120, 1))
    with pytest.raises(ConfigError, match="no more than"):
        fit_threshold(labels, probabilities, 0.9)


def test_figures_are_those_of_the_answers_that_are_given():
    labels, probabilities = draw(2000, 1)
    names = ("cat", "dog")
    test = evaluate(*draw(1000, 2), names)
    found = fit_abstention((labels, probabilities), test, 0.9)
    given = test.probabilities.max(axis=1) >= found.threshold
    assert found.test_coverage == given.mean()
    assert found.test_accuracy == (test.predictions == test.labels)[given].mean()
    assert found.validation_accuracy >= found.guaranteed_accuracy >= 0.9
    never = fit_abstention(
        (labels, probabilities), evaluate(labels[:9], np.full((9, 2), 0.5, np.float32), names), 0.9
    )
    assert (never.test_coverage, never.test_accuracy) == (0, None)


@pytest.mark.parametrize("target", [0, 1, -1, 1.5, float("nan")])
def test_impossible_targets_are_refused(target):
    with pytest.raises(ConfigError, match="above 0 and below 1, such as"):
        fit_threshold(*draw(10, 1), target)


def test_a_target_that_no_threshold_reaches_is_told_with_what_can_be_promised():
    with pytest.raises(ConfigError, match=r"99\.9 %: from the 50 validation images no more than"):
        fit_threshold(*draw(50, 1), 0.999)
