"""Evaluation: scikit-learn's metrics as records."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlkit.records import ClassReport, Evaluation, Float32Array, Int64Array


def evaluate(
    labels: Int64Array, probabilities: Float32Array, class_names: Sequence[str]
) -> Evaluation:
    """Compute the test figures.

    Args:
        labels: int64 (N,), values 0 to number of classes - 1.
        probabilities: float32 (N, number of classes), rows sum to 1; collected in the same pass
            as the labels.
        class_names: The class names in the order of the labels.

    Returns:
        The figures; where a class was never predicted its precision is 0.
    """
    from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

    indices = list(range(len(class_names)))
    predictions = probabilities.argmax(axis=1)
    figures = precision_recall_fscore_support(labels, predictions, labels=indices, zero_division=0)
    averages = []
    for kind in ("macro", "weighted"):
        precision, recall, f1, _ = precision_recall_fscore_support(
            labels, predictions, labels=indices, average=kind, zero_division=0
        )
        averages.append(
            ClassReport(f"{kind} avg", float(precision), float(recall), float(f1), len(labels))
        )
    wide = probabilities.astype(np.float64)
    return Evaluation(
        accuracy=float(np.mean(predictions == labels)),
        loss=float(log_loss(labels, wide / wide.sum(axis=1, keepdims=True), labels=indices)),
        labels=labels,
        probabilities=probabilities,
        confusion_matrix=confusion_matrix(labels, predictions, labels=indices).astype(np.int64),
        classes=tuple(
            ClassReport(name, float(p), float(r), float(f), int(n))
            for name, p, r, f, n in zip(class_names, *figures, strict=True)
        ),
        averages=tuple(averages),
    )
