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
        metrics: What was recorded of it; see ``METRICS``.
    """

    phase: str
    epoch: int
    metrics: dict[str, float]


def epoch_rows(phases: Sequence[PhaseResult]) -> list[EpochRow]:
    """Return the epochs of all phases in order."""
    rows: list[EpochRow] = []
    for result in phases:
        for epoch in range(1, result.num_epochs + 1):
            rows.append(EpochRow(result.phase.name, len(rows) + 1, result.figures(epoch)))
    return rows
