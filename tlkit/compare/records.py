"""Records of a comparison: cells of a grid, finished runs, and tests of pairs of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


def images_per_class(few_shot: int) -> str:
    """Return in words how many images of each class there are to train on; 0 means all."""
    if not few_shot:
        return "all images"
    return f"{few_shot:,} image{'' if few_shot == 1 else 's'} per class"


@dataclass(frozen=True)
class Figures:
    """What one finished run reached and what it cost.

    Attributes:
        accuracy: On the test set, 0 to 1.
        interval: 95 % confidence interval of the accuracy; None if it was not computed.
        validation_accuracy: After the epoch whose weights were kept, 0 to 1; None where nothing
            was held out, or the test set served for validation.
        test_images: Number of test images.
        test_fingerprint: SHA-256 of the test images.
        labels_fingerprint: SHA-256 of the class names and all labels; empty if unknown.
        features_seconds: Seconds that the extraction of its features took when they were made,
            whether by this run or an earlier one; None if that is not known.
        features_stored: Whether all its features were on disk already.
        training_seconds: Seconds of training, without extraction.
        total_seconds: Seconds of the whole run as it went, without importing TensorFlow.
        parameters: Number of parameters of the model, trained or frozen.
        model_bytes: Size of the saved model; None if it is not there.
        images_per_second: Of the extraction that this run did; None if all was stored.
        train_images: Number of images that it was trained on.
        smallest_class: Number of training images of the class that has fewest; None if unknown.
    """

    accuracy: float
    interval: tuple[float, float] | None
    validation_accuracy: float | None
    test_images: int
    test_fingerprint: str
    labels_fingerprint: str
    features_seconds: float | None
    features_stored: bool
    training_seconds: float
    total_seconds: float
    parameters: int
    model_bytes: int | None
    images_per_second: float | None
    train_images: int
    smallest_class: int | None

    @property
    def seconds(self) -> float | None:
        """Extraction and training; None if the first is not known."""
        if self.features_seconds is None:
            return None
        return self.features_seconds + self.training_seconds


@dataclass(frozen=True)
class Cell:
    """One cell of a grid, or one finished run.

    Attributes:
        backbone: Its name, with the options that the grid gives it.
        head: Its name, with the options that the grid gives it.
        seed: Seed of the run.
        digest: SHA-256 of the resolved config, which tells cells apart.
        folder: The run folder; None if the run did not come so far.
        figures: What it reached; None if it failed.
        error: Why it failed; None if it did not.
        reused: Whether it was finished before this comparison began.
        name: Name of the run folder, where finished runs are compared; else empty.
        few_shot: Images of each class that it may train on; 0 for all.
    """

    backbone: str
    head: str
    seed: int
    digest: str
    folder: Path | None = None
    figures: Figures | None = None
    error: str | None = None
    reused: bool = False
    name: str = ""
    few_shot: int = 0

    @property
    def title(self) -> str:
        """What the cell is called in sentences."""
        few = f", {images_per_class(self.few_shot)}" if self.few_shot else ""
        return f"{self.backbone}, {self.head}{few}, seed {self.seed}"


@dataclass(frozen=True)
class PairedTest:
    """Two classifiers on the same test images.

    Attributes:
        first: Name of the first.
        second: Name of the second.
        only_first: Images that the first gets right and the second wrong.
        only_second: Images that the second gets right and the first wrong.
        images: Number of test images.
        p_value: Of McNemar's exact test, two-sided.
        adjusted_p_value: The same after Holm's correction for the number of pairs.
        difference: Accuracy of the first less that of the second, -1 to 1.
        interval: 95 % confidence interval of the difference; not corrected.
    """

    first: str
    second: str
    only_first: int
    only_second: int
    images: int
    p_value: float
    adjusted_p_value: float
    difference: float
    interval: tuple[float, float]

    @property
    def larger_than_chance(self) -> bool:
        """Whether the adjusted p-value is below 5 %."""
        return self.adjusted_p_value < 0.05


@dataclass(frozen=True)
class Comparison:
    """A grid, or finished runs side by side.

    Attributes:
        cells: The cells, in the order of the grid or of the runs.
        pairs: McNemar's test: of every pair of runs; in a grid of the best two, by validation
            accuracy where there is one.
        differences: For runs side by side: the settings that are not the same in all of them, each
            with one value for each run.
        notes: What the reader should know.
        folder: Where it was written; None if it was not.
    """

    cells: tuple[Cell, ...]
    pairs: tuple[PairedTest, ...] = ()
    differences: tuple[tuple[str, tuple[str, ...]], ...] = ()
    notes: tuple[str, ...] = ()
    folder: Path | None = None

    @property
    def failed(self) -> tuple[Cell, ...]:
        """The cells that failed."""
        return tuple(cell for cell in self.cells if cell.error is not None)
