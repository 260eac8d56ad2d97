"""Where the time of feature extraction went, and which engines were tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class EngineTrial:
    """How an engine compared with TensorFlow on images of the data set at hand.

    Attributes:
        engine: Its name.
        version: The version of its runtime.
        precision: What it computes in.
        accepted: Whether its features are TensorFlow's: a relative error up to 1e-3, and the same
            head accuracy.
        reason: Why it was not accepted; empty if it was.
        relative_error: Largest difference divided by the largest feature.
        accuracy: Of a head fitted to TensorFlow's features, on the engine's; 0 to 1.
        reference_accuracy: Of the same head on TensorFlow's features.
        images_per_second: Of the engine.
        reference_images_per_second: Of TensorFlow.
        setup_seconds: What it took to compile the model.
        remembered: Whether an earlier run measured this.
    """

    engine: str
    version: str
    precision: str
    accepted: bool
    reason: str = ""
    relative_error: float = 0.0
    accuracy: float = 0.0
    reference_accuracy: float = 0.0
    images_per_second: float = 0.0
    reference_images_per_second: float = 0.0
    setup_seconds: float = 0.0
    remembered: bool = False


@dataclass(frozen=True)
class Extraction:
    """One pass of images through the frozen backbone.

    Attributes:
        split: ``"train"``, ``"validation"`` or ``"test"``; ``"train, view 2"`` for a view.
        engine: The engine that ran it.
        num_images: Number of images that were computed, without those that were stored before.
        batch_size: Images in a batch, as a short probe found it.
        seconds: Wall-clock time.
        stage_seconds: Seconds of work in all threads together: ``read``, ``resize``, ``forward``;
            on a cluster of all workers together, ``write`` too.
        workers: Images that each worker of a cluster computed, by its node and process; none where
            this machine did it all.
    """

    split: str
    engine: str
    num_images: int
    batch_size: int
    seconds: float
    stage_seconds: Mapping[str, float]
    workers: Mapping[str, int] = field(default_factory=dict)
