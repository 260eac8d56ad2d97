"""Records: what was exported, and how it compares with the run's Keras model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tlkit.export.format import Precision


@dataclass(frozen=True)
class Figures:
    """What the test set says of an exported file.

    Attributes:
        accuracy: Share of right answers, 0 to 1.
        accuracy_change: That minus the Keras model's.
        largest_difference: Between a probability and the Keras model's, 0 to 1.
        images_per_second: By batch size, 1 and 32: the fastest call; the pixels are in memory
            already.
        peak_memory_bytes: The most resident memory of a process that loads the file and classifies
            the test set in batches of 32, Python and the runtime included; None where the system
            does not tell.
    """

    accuracy: float
    accuracy_change: float
    largest_difference: float
    images_per_second: dict[int, float]
    peak_memory_bytes: int | None


@dataclass(frozen=True)
class Exported:
    """One file that was to be written.

    Attributes:
        format: Its format's name.
        precision: Of its weights.
        file: Where it is, or would have been.
        runtime: What runs it, with its version.
        bytes: Its size; 0 if it was not made.
        figures: What the test set says; None if it was not checked.
        error: Why it is not there; None if it is.
        warning: What is wrong with it although it is there; None if nothing.
    """

    format: str
    precision: Precision
    file: Path
    runtime: str
    bytes: int = 0
    figures: Figures | None = None
    error: str | None = None
    warning: str | None = None
