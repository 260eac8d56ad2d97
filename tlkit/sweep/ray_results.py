"""What a worker on a cluster tells of its trial, and how it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tlkit.sweep.trying import Outcome

# Ray Tune ends a trial by the first two; the last stands in the last result of a trial only.
EPOCH, VALUE, OUTCOME = "epoch", "value", "outcome"


def epoch_result(value: float, epoch: int, metrics: Mapping[str, float]) -> dict[str, Any]:
    """Return what is told after an epoch."""
    return {EPOCH: epoch, VALUE: value, "metrics": json.dumps(metrics)}


def last_result(found: Outcome, metric: str) -> dict[str, Any]:
    """Return what is told at the end of a trial."""
    words = {"state": found.state, "value": found.value, **found.record()}
    worst = float("-inf") if metric == "val_accuracy" else float("inf")
    return {
        EPOCH: found.epochs,
        VALUE: worst if found.value is None else found.value,
        OUTCOME: json.dumps(words),
        "done": True,
    }


def outcome_of(last: Mapping[str, Any], error: bool, metric: str) -> Outcome:
    """Return what a worker's last words say of its trial.

    Args:
        last: The last result of the trial that arrived; empty if none did.
        error: Whether Ray says that the trial failed.
        metric: What is measured.
    """
    if OUTCOME in last:
        return Outcome(**json.loads(last[OUTCOME]))
    if error or VALUE not in last:
        return Outcome("failed", None, {}, 0, {}, "its worker died")
    metrics = json.loads(last.get("metrics", "{}"))
    seconds = {"total": float(last.get("time_total_s", 0.0))}
    return Outcome("pruned", metrics.get(metric), metrics, int(last[EPOCH]), seconds)
