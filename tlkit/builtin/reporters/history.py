"""The epochs of all phases as one row each, numbered through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tlkit import PhaseResult

METRICS = ("loss", "accuracy", "val_loss", "val_accuracy")


@dataclass(frozen=True)
class EpochRow:
    """One epoch.

    Attributes:
        phase: The name of its phase.
        epoch: From 1, going on from phase to phase.
        metrics: Those of ``METRICS`` that were recorded.
    """

    phase: str
    epoch: int
    metrics: dict[str, float]


def epoch_rows(phases: Sequence[PhaseResult]) -> list[EpochRow]:
    """Return the epochs of all phases in order."""
    rows: list[EpochRow] = []
    for result in phases:
        recorded = {key: result.history[key] for key in METRICS if key in result.history}
        count = max((len(values) for values in recorded.values()), default=0)
        for index in range(count):
            metrics = {
                key: float(values[index]) for key, values in recorded.items() if index < len(values)
            }
            rows.append(EpochRow(result.phase.name, len(rows) + 1, metrics))
    return rows
