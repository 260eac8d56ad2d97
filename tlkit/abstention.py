"""Abstention: the confidence below which no answer is better than one, with a guarantee."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tlkit.errors import ConfigError
from tlkit.records import Evaluation, Float32Array, Int64Array
from tlkit.wording import percent

# How sure it is that the target is kept.
GUARANTEE = 0.95


@dataclass(frozen=True)
class Abstention:
    """A threshold of the confidence, and what it gave.

    Attributes:
        target_accuracy: What was asked of the answers that are given, 0 to 1.
        threshold: Confidences below it are no answer.
        guaranteed_accuracy: What the accuracy of given answers is at least, for images such as
            those of the validation, with the probability ``GUARANTEE``.
        validation_coverage: Share of the validation images that get an answer.
        validation_accuracy: Share of right ones among these answers.
        test_coverage: The same of the test images, on which nothing was fitted.
        test_accuracy: The same; None where no test image gets an answer.
    """

    target_accuracy: float
    threshold: float
    guaranteed_accuracy: float
    validation_coverage: float
    validation_accuracy: float
    test_coverage: float
    test_accuracy: float | None


def fit_threshold(
    labels: Int64Array, probabilities: Float32Array, target_accuracy: float
) -> tuple[float, float]:
    """Find the lowest threshold whose answers reach an accuracy with a guarantee.

    This is Selection with Guaranteed Risk (Geifman and El-Yaniv: Selective Classification for Deep
    Neural Networks, NIPS 2017, algorithm 1) with the largest probability as confidence: a binary
    search over the confidences of the validation images, each step of which bounds the risk from
    its binomial distribution (Clopper-Pearson), at a level that is shared among the steps.

    Args:
        labels: int64 (N,), of the validation images.
        probabilities: float32 (N, number of classes).
        target_accuracy: Above 0 and below 1.

    Returns:
        The threshold, and the accuracy that is guaranteed with the probability ``GUARANTEE``.

    Raises:
        ConfigError: If the target is out of range, or no threshold reaches it.
    """
    from scipy import stats

    if not 0 < target_accuracy < 1:
        raise ConfigError(
            f"A target accuracy of {target_accuracy:g} is not allowed: above 0 and below 1, such "
            f"as 0.95."
        )
    confidence = probabilities.max(axis=1)
    wrong = (probabilities.argmax(axis=1) != labels)[np.argsort(-confidence, kind="stable")]
    ordered = np.sort(confidence)[::-1]
    mistakes = np.concatenate([[0], np.cumsum(wrong)])
    steps = math.floor(math.log2(len(labels))) + 1
    level = (1 - GUARANTEE) / steps

    def bound(threshold: float) -> tuple[float, int]:
        """Return what the accuracy is at least, and how many answers it is of."""
        # All of one confidence are answered, or none.
        count = int(np.searchsorted(-ordered, -threshold, side="right"))
        errors = int(mistakes[count])
        if errors == count:
            return 0.0, count
        return float(stats.beta.ppf(level, count - errors, errors + 1)), count

    best: tuple[float, float] | None = None
    most = 0.0
    low, high = 1, len(labels)  # how many of the surest are answered
    while low <= high:
        middle = -(-(low + high) // 2)
        threshold = float(ordered[middle - 1])
        accuracy, count = bound(threshold)
        most = max(most, accuracy)
        if accuracy >= target_accuracy:
            best = threshold, accuracy
            low = max(middle, count) + 1
        else:
            high = middle - 1
    if best is None:
        raise ConfigError(
            f"No threshold reaches the target accuracy of {percent(target_accuracy)}: from the "
            f"{len(labels):,} validation images no more than {percent(most)} can be promised. Ask "
            f"for less (--target-accuracy), or train with more validation images "
            f"([run] validation)."
        )
    return best


def fit_abstention(
    validation: tuple[Int64Array, Float32Array], test: Evaluation, target_accuracy: float
) -> Abstention:
    """Find a threshold on the validation images, and see what it does on the test images.

    Args:
        validation: Labels and probabilities.
        test: The test figures.
        target_accuracy: Above 0 and below 1.

    Raises:
        ConfigError: If the target is out of range, or no threshold reaches it.
    """
    threshold, guaranteed = fit_threshold(*validation, target_accuracy)
    coverage, accuracy = _answered(*validation, threshold)
    test_coverage, test_accuracy = _answered(test.labels, test.probabilities, threshold)
    assert accuracy is not None
    return Abstention(
        target_accuracy=target_accuracy,
        threshold=threshold,
        guaranteed_accuracy=guaranteed,
        validation_coverage=coverage,
        validation_accuracy=accuracy,
        test_coverage=test_coverage,
        test_accuracy=test_accuracy,
    )


def _answered(
    labels: Int64Array, probabilities: Float32Array, threshold: float
) -> tuple[float, float | None]:
    given = probabilities.max(axis=1) >= threshold
    right = (probabilities.argmax(axis=1) == labels)[given]
    return float(given.mean()), float(right.mean()) if len(right) else None
