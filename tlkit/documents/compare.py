"""``tlkit compare``: grids and finished runs side by side."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tlkit.documents.base import AbsolutePath, Document, Number, Part, Share


class ComparedFigures(Part):
    """What one finished run reached and what it cost."""

    accuracy: Share = Field(description="Test accuracy, 0 to 1.")
    interval: tuple[float, float] | None = Field(description="Its 95 % interval.")
    validation_accuracy: Number = Field(description="0 to 1; null where nothing was held out.")
    test_images: int
    test_fingerprint: str = Field(description="SHA-256 of the test images.")
    labels_fingerprint: str = Field(description="SHA-256 of class names and labels; may be empty.")
    features_seconds: Number = Field(description="Of the extraction when it was made.")
    features_stored: bool = Field(description="Whether all features were on disk already.")
    training_seconds: Number
    total_seconds: Number = Field(description="Of the run, without importing TensorFlow.")
    parameters: int = Field(description="Of the model, trained or frozen.")
    model_bytes: int | None = Field(description="Size of the saved model; null if it is not there.")
    images_per_second: Number = Field(description="Of the extraction; null if all was stored.")
    train_images: int
    smallest_class: int | None = Field(description="Training images of the smallest class.")


class ComparedCell(Part):
    """One cell of a grid, or one finished run."""

    backbone: str = Field(description="Its name, with the options that the grid gives it.")
    head: str = Field(description="Its name, with the options that the grid gives it.")
    few_shot: int = Field(description="Images of each class to train on; 0 for all.")
    seed: int
    name: str = Field(description="Name of the run, where finished runs are compared; else empty.")
    digest: str = Field(description="SHA-256 of the resolved config.")
    folder: AbsolutePath | None = Field(description="The run folder; null if there is none.")
    figures: ComparedFigures | None = Field(description="null if the cell failed.")
    error: str | None = Field(description="Why it failed; null if it did not.")
    reused: bool = Field(description="Whether it was finished before.")


class ComparedRow(Part):
    """The finished cells of one backbone, head and few_shot: means over their seeds."""

    backbone: str
    head: str
    few_shot: int = Field(description="Images of each class to train on; 0 for all.")
    name: str = Field(description="Name of the run, where finished runs are compared; else empty.")
    seeds: list[int] = Field(description="The seeds that finished.")
    accuracy: Number = Field(description="Mean test accuracy, 0 to 1; null if none finished.")
    deviation: Number = Field(description="Standard deviation over the seeds; null with one.")
    interval: tuple[float, float] | None = Field(description="95 % interval; null with several.")
    validation_accuracy: Number = Field(description="Mean, 0 to 1.")
    features_seconds: Number = Field(description="Mean, of the extractions when they were made.")
    features_stored: bool = Field(description="Whether no cell had to extract anything.")
    training_seconds: Number = Field(description="Mean.")
    total_seconds: Number = Field(description="Mean.")
    parameters: int | None
    model_bytes: int | None
    images_per_second: Number


class ComparedPair(Part):
    """McNemar's exact test of two classifiers on the same test images."""

    first: str
    second: str
    only_first: int = Field(description="Images that only the first gets right.")
    only_second: int = Field(description="Images that only the second gets right.")
    images: int = Field(description="Number of test images.")
    p_value: Share = Field(description="Two-sided.")
    adjusted_p_value: Share = Field(description="After Holm's correction.")
    difference: float = Field(description="Accuracy of the first less that of the second.")
    interval: tuple[float, float] = Field(description="95 % interval of the difference.")
    larger_than_chance: bool = Field(description="Whether adjusted_p_value is below 0.05.")
    sentence: str = Field(description="What the test found, in words.")


class ComparisonDocument(Document):
    """``tlkit compare`` and ``comparison.json``: "failed" if a cell of the grid failed."""

    schema_: Literal["tlkit.compare/1"] = Field(default="tlkit.compare/1", alias="schema")
    folder: AbsolutePath | None = Field(description="Where it was written; null if it was not.")
    cells: list[ComparedCell]
    rows: list[ComparedRow]
    pairs: list[ComparedPair]
    differences: dict[str, list[str]] = Field(
        description="Settings that differ between finished runs: one value for each run."
    )
    notes: list[str] = Field(description="What the reader should know.")
