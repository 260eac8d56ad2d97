"""Evaluation: scikit-learn's metrics as records."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlkit.calibration import cross_entropy, reliability
from tlkit.records import Calibration, ClassReport, Evaluation, Float32Array, Int64Array

CONFIDENCE = 0.95
_AVERAGES = ("macro", "weighted")


def accuracy_interval(right: int, total: int) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of an accuracy.

    A resample of N answers, each right with the share that was seen, has a binomial number of right
    ones. So the distribution that a bootstrap of ever more resamples tends to is known, and the
    interval is that between its quantiles (Efron and Tibshirani: An Introduction to the Bootstrap,
    1993, chapter 13): no resample is drawn, and no seed needed.

    Where all answers are right, or none, every resample is the same and would give an interval of
    no width. The exact interval of Clopper and Pearson (1934) stands in then.

    Args:
        right: Number of right answers, 0 to ``total``.
        total: Number of test images, 1 or more.

    Returns:
        Lower and upper end, 0 to 1.
    """
    from scipy import stats

    if right in (0, total):
        exact = stats.binomtest(right, total).proportion_ci(CONFIDENCE, method="exact")
        return float(exact.low), float(exact.high)
    tail = (1 - CONFIDENCE) / 2
    low, high = stats.binom.ppf((tail, 1 - tail), total, right / total) / total
    return float(low), float(high)


def evaluate(
    labels: Int64Array,
    probabilities: Float32Array,
    class_names: Sequence[str],
    calibration: Calibration | None = None,
) -> Evaluation:
    """Compute the test figures.

    Args:
        labels: int64 (N,), values 0 to number of classes - 1.
        probabilities: float32 (N, number of classes), rows sum to 1; collected in the same pass
            as the labels.
        class_names: The class names in the order of the labels.
        calibration: What ``measure_calibration()`` found; by default that of the probabilities,
            without a temperature.

    Returns:
        The figures; where a class was never predicted its precision is 0.
    """
    from sklearn.metrics import (
        confusion_matrix,
        precision_recall_fscore_support,
        recall_score,
        top_k_accuracy_score,
    )

    indices = list(range(len(class_names)))
    predictions = probabilities.argmax(axis=1)
    figures = precision_recall_fscore_support(labels, predictions, labels=indices, zero_division=0)
    if calibration is None:
        calibration = Calibration(reliability(labels, probabilities), reason="none was fitted")
    right = int(np.sum(predictions == labels))
    # The same as balanced_accuracy_score(), which warns of predictions of a class without images.
    balanced = recall_score(labels, predictions, labels=np.unique(labels), average="macro")
    top_5 = None
    if len(class_names) > 5:
        top_5 = float(top_k_accuracy_score(labels, probabilities, k=5, labels=indices))
    return Evaluation(
        accuracy=right / len(labels),
        loss=cross_entropy(labels, probabilities),
        labels=labels,
        probabilities=probabilities,
        confusion_matrix=confusion_matrix(labels, predictions, labels=indices).astype(np.int64),
        classes=tuple(
            ClassReport(name, float(p), float(r), float(f), int(n))
            for name, p, r, f, n in zip(class_names, *figures, strict=True)
        ),
        averages=tuple(_average(labels, predictions, indices, kind) for kind in _AVERAGES),
        accuracy_interval=accuracy_interval(right, len(labels)),
        balanced_accuracy=float(balanced),
        top_5=top_5,
        calibration=calibration,
    )


def _average(
    labels: Int64Array, predictions: Int64Array, indices: list[int], kind: str
) -> ClassReport:
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predictions, labels=indices, average=kind, zero_division=0
    )
    return ClassReport(f"{kind} avg", float(precision), float(recall), float(f1), len(labels))
