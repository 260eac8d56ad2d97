"""Calibration: whether probabilities can be believed, and the temperature that mends them."""

from __future__ import annotations

import numpy as np

from tlkit.records import Calibration, Float32Array, Int64Array, Reliability, ReliabilityBin

BINS = 15
# Outside of this range a temperature says that the validation images set none: with every answer
# right the loss falls until it is 0, with answers no better than chance until it is infinite.
LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.05, 20.0


def softmax(logits: Float32Array, temperature: float = 1.0) -> Float32Array:
    """Turn logits, divided by a temperature, into probabilities.

    Args:
        logits: float32 (N, number of classes); logarithms of probabilities serve as well.
        temperature: Above 0.

    Returns:
        float32 (N, number of classes), rows sum to 1.
    """
    from scipy import special

    # Divided by one number and as float32, as the saved model does it.
    scaled = logits * np.float32(1 / temperature)
    probabilities: Float32Array = special.softmax(scaled, axis=1)
    return probabilities


def cross_entropy(labels: Int64Array, probabilities: Float32Array) -> float:
    """Return the mean cross-entropy in nats; a probability of 0 counts as 2e-16.

    Args:
        labels: int64 (N,), values 0 to number of classes - 1.
        probabilities: float32 (N, number of classes), rows sum to 1.
    """
    from sklearn.metrics import log_loss

    wide = probabilities.astype(np.float64)
    wide /= wide.sum(axis=1, keepdims=True)
    return float(log_loss(labels, wide, labels=np.arange(wide.shape[1])))


def reliability(labels: Int64Array, probabilities: Float32Array) -> Reliability:
    """Compare confidences with accuracies.

    The images are sorted by their confidence, the largest probability, into ``BINS`` bins of equal
    width. The expected calibration error is the mean of |accuracy - mean confidence| over the
    bins, each weighted by its images (Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural
    Networks, ICML 2017, equation 3).

    Few images deviate from true confidences by chance. If every confidence c were true, the number
    of right answers in a bin would have the variance sum(c (1 - c)), and the mean distance from its
    expectation would be sqrt(2 / pi) standard deviations, as for a normal distribution; from that
    comes ``error_by_chance`` (the idea is that of Broecker and Smith: Increasing the Reliability of
    Reliability Diagrams, Weather and Forecasting 22, 2007, who draw such answers).

    Args:
        labels: int64 (N,), values 0 to number of classes - 1.
        probabilities: float32 (N, number of classes), rows sum to 1.
    """
    # Rounding may make a float32 sum of probabilities, and so the largest, slightly above 1.
    confidence = np.minimum(probabilities.max(axis=1).astype(np.float64), 1)
    right = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, BINS + 1)
    # scikit-learn's calibration_curve() has the same bins, and does not say how many are in each.
    places = np.searchsorted(edges[1:-1], confidence)
    doubt = confidence * (1 - confidence)
    counts, confidences, accuracies, variances = (
        np.bincount(places, weights, BINS) for weights in (None, confidence, right, doubt)
    )
    bins = tuple(
        ReliabilityBin(
            float(edges[place]),
            float(edges[place + 1]),
            float(confidences[place] / counts[place]),
            float(accuracies[place] / counts[place]),
            int(counts[place]),
        )
        for place in np.flatnonzero(counts)
    )
    return Reliability(
        expected_calibration_error=float(np.abs(accuracies - confidences).sum() / len(labels)),
        error_by_chance=float(np.sqrt(2 / np.pi * variances).sum() / len(labels)),
        loss=cross_entropy(labels, probabilities),
        bins=bins,
    )


def fit_temperature(labels: Int64Array, logits: Float32Array) -> float | None:
    """Find the temperature with the lowest cross-entropy of softmax(logits / temperature).

    It is to be fitted on images that the model was not trained on and is not tested on (Guo et al.
    2017, section 4.2). The cross-entropy is convex in 1 / temperature, so that there is one lowest
    point, which a bounded search finds (Brent).

    Args:
        labels: int64 (N,), values 0 to number of classes - 1.
        logits: float32 (N, number of classes); logarithms of probabilities serve as well.

    Returns:
        The temperature; None if the lowest point is not between ``LEAST_TEMPERATURE`` and
        ``MOST_TEMPERATURE``, as when all answers are right, or no better than chance.
    """
    from scipy import optimize

    # None is above 0 after this, so that no exponential overflows.
    shifted = logits - logits.max(axis=1, keepdims=True)
    mean_of_true = float(shifted[np.arange(len(labels)), labels].mean(dtype=np.float64))

    def loss(log_temperature: float) -> float:
        beta = np.exp(-log_temperature)
        sums = np.exp(shifted * np.float32(beta)).sum(axis=1, dtype=np.float64)
        return float(np.log(sums).mean() - beta * mean_of_true)

    low, high = np.log(LEAST_TEMPERATURE), np.log(MOST_TEMPERATURE)
    found = optimize.minimize_scalar(loss, bounds=(low, high), options={"xatol": 1e-4})
    if not low + 1e-2 < found.x < high - 1e-2:
        return None
    return float(np.exp(found.x))


def measure_calibration(
    labels: Int64Array,
    logits: Float32Array,
    temperature: float | None,
    *,
    reason: str = "",
    applied: bool = False,
) -> Calibration:
    """Compare confidences with accuracies, as trained and with a temperature.

    Args:
        labels: int64 (N,), of the test images.
        logits: float32 (N, number of classes), of the test images.
        temperature: What ``fit_temperature()`` found on the validation images, or None.
        reason: Why there is none.
        applied: Whether the saved model has the temperature.
    """
    calibrated = None
    if temperature is not None:
        calibrated = reliability(labels, softmax(logits, temperature))
    return Calibration(
        uncalibrated=reliability(labels, softmax(logits)),
        calibrated=calibrated,
        temperature=temperature,
        reason=reason,
        applied=applied,
    )
