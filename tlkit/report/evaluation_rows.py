"""The test figures as rows of the page: headline, classes, confusions, calibration."""

from __future__ import annotations

from typing import Any

from tlkit.records import RunResult
from tlkit.report.words import duration, model_bytes, name_limit, size_text, text
from tlkit.wording import percent, share_rows

MAX_CLASS_ROWS, MAX_CONFUSIONS = 1000, 8
_MEANINGS = {
    "Balanced accuracy": "mean recall of the classes",
    "Macro F1": "each class counts alike",
    "Top-5 accuracy": "class among the five most probable",
}


def accuracy_bar(result: RunResult) -> dict[str, float] | None:
    """Return the accuracy and its interval in per cent, to draw."""
    interval = result.test.accuracy_interval
    if interval is None:
        return None
    low, high = (round(100 * end, 2) for end in interval)
    return {"low": low, "high": high, "value": round(100 * result.test.accuracy, 2)}


def tiles(result: RunResult) -> list[tuple[str, str, str]]:
    """Return the headline figures beside the accuracy: name, value, and what it means."""
    test = result.test
    rows = [(name, value, _MEANINGS[name]) for name, value in share_rows(test)]
    if test.calibration is not None:
        saved = test.calibration.saved
        chance = f"{percent(saved.error_by_chance)} by chance alone"
        rows.append(("Calibration error", percent(saved.expected_calibration_error), chance))
    rows.append(("Test loss", f"{test.loss:.4f}", "cross-entropy, nats"))
    parameters = _parameters(result)
    if parameters:
        trained = f"{result.phases[-1].phase.trainable_parameters:,} trained in the last phase"
        rows.append(("Parameters", f"{parameters:,}", trained))
    size = model_bytes(result.folder)
    if size is not None:
        rows.append(("Saved model", size_text(size), "pixels in, probabilities out"))
    if "total" in result.seconds:
        training = f"{duration(result.seconds.get('training', 0.0))} of it training"
        rows.append(("Total time", duration(result.seconds["total"]), training))
    return rows


def _parameters(result: RunResult) -> int:
    if not result.phases:
        return 0
    phase = result.phases[-1].phase
    return phase.trainable_parameters + phase.frozen_parameters


def class_rows(result: RunResult) -> list[dict[str, Any]]:
    """Return a row for each class; of very many those with the lowest F1."""
    import numpy as np

    info, matrix = result.info, result.test.confusion_matrix
    wrong = matrix - np.diag(np.diag(matrix))
    limit = name_limit(len(info.class_names))
    rows: list[dict[str, Any]] = []
    for index, item in enumerate(result.test.classes):
        other = int(wrong[index].argmax())
        count = int(wrong[index, other])
        rows.append(
            {
                "name": text(item.name, limit),
                "precision": item.precision,
                "recall": item.recall,
                "f1": item.f1,
                "support": item.support,
                "train": info.class_counts[index] if info.class_counts else None,
                "other_name": text(info.class_names[other], limit),
                "count": count,
            }
        )
    if len(rows) > MAX_CLASS_ROWS:
        rows = sorted(rows, key=lambda row: row["f1"])[:MAX_CLASS_ROWS]
    return rows


def average_row(item: Any) -> dict[str, Any]:
    """Return the figures of an average over the classes."""
    return {
        "name": {"macro avg": "Mean of the classes", "weighted avg": "Weighted by images"}.get(
            item.name, text(item.name)
        ),
        "precision": item.precision,
        "recall": item.recall,
        "f1": item.f1,
        "support": item.support,
    }


def confusions(result: RunResult) -> list[dict[str, Any]]:
    """Return the most frequent confusions."""
    names, matrix = result.info.class_names, result.test.confusion_matrix
    limit = name_limit(len(names))
    return [
        {
            "true": true,
            "predicted": predicted,
            "true_name": text(names[true], limit),
            "predicted_name": text(names[predicted], limit),
            "count": count,
            "share": percent(count / matrix[true].sum()),
        }
        for true, predicted, count in result.test.confusions(MAX_CONFUSIONS)
    ]


def calibration_rows(result: RunResult) -> list[tuple[str, str]]:
    """Return what the calibration says, in words."""
    found = result.test.calibration
    if found is None:
        return []
    saved = found.saved
    rows = [
        ("Expected calibration error", percent(saved.expected_calibration_error)),
        (
            "By chance alone",
            f"{percent(saved.error_by_chance)}: about what it would be if every confidence were "
            f"true",
        ),
    ]
    if found.calibrated is None:
        return [*rows, ("Temperature", text(f"none: {found.reason}", 300))]
    other = found.uncalibrated if found.applied else found.calibrated
    label = "Without the temperature" if found.applied else "With the temperature"
    state = "part of the saved model" if found.applied else "not part of the saved model"
    return [
        *rows,
        ("Temperature", f"{found.temperature:.3f}, fitted on the validation images; {state}"),
        (label, percent(other.expected_calibration_error)),
    ]


def reliability_rows(result: RunResult) -> list[tuple[str, ...]]:
    """Return the bins of the saved model as text."""
    if result.test.calibration is None:
        return []
    return [
        (
            f"{100 * item.lower:.1f} to {100 * item.upper:.1f}",
            f"{100 * item.confidence:.1f}",
            f"{100 * item.accuracy:.1f}",
            f"{item.count:,}",
        )
        for item in result.test.calibration.saved.bins
    ]
