"""The phases of training, and what each left behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Phase:
    """One stretch of training with a fixed set of trainable weights.

    Attributes:
        name: Such as ``"frozen"`` or ``"fine-tune"``.
        epochs: Number of passes over the training images.
        steps: Number of batches in one epoch; 0 for a head that is computed without steps.
        num_images: Number of training images.
        trainable_parameters: Number of parameters that this phase changes.
        frozen_parameters: Number of parameters that it must not change.
    """

    name: str
    epochs: int
    steps: int
    num_images: int
    trainable_parameters: int
    frozen_parameters: int


@dataclass(frozen=True)
class PhaseResult:
    """What a phase left behind.

    Attributes:
        phase: The phase.
        history: One list for each figure (``loss``, ``accuracy``, ``val_loss``, ``val_accuracy``),
            one value for each epoch; losses in nats, accuracies 0 to 1.
        seconds: Wall-clock time of the training, without feature extraction.
        kept_epoch: The epoch, from 1, whose weights early stopping put back; None for the last.
        chosen: What a head chose by the validation images, such as ``{"C": 0.01}``.
    """

    phase: Phase
    history: Mapping[str, list[float]]
    seconds: float
    kept_epoch: int | None = None
    chosen: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_epochs(self) -> int:
        """How many epochs were recorded."""
        return max(map(len, self.history.values()), default=0)

    def figures(self, epoch: int | None = None) -> dict[str, float]:
        """Return what was recorded of an epoch, by the keys of the history.

        Args:
            epoch: From 1; by default the one whose weights the phase ended with.
        """
        number = epoch or self.kept_epoch or self.num_epochs
        return {
            key: float(values[number - 1])
            for key, values in self.history.items()
            if 0 < number <= len(values)
        }
