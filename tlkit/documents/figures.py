"""Test figures: accuracy, classes, and how far confidences can be believed."""

from __future__ import annotations

from pydantic import Field

from tlkit.documents.base import Number, Part, Share


class ClassFigures(Part):
    """Figures of one class, or of an average over classes, on the test images."""

    name: str = Field(description='The class; "macro avg" or "weighted avg" for an average.')
    precision: Share = Field(description="0 to 1.")
    recall: Share = Field(description="0 to 1.")
    f1: Share = Field(description="0 to 1.")
    support: int = Field(description="Number of test images.")


class ConfidenceBin(Part):
    """The test images whose confidence lies above lower and up to upper."""

    lower: Share = Field(description="0 to 1.")
    upper: Share = Field(description="0 to 1.")
    confidence: float = Field(description="Their mean confidence, 0 to 1.")
    accuracy: Share = Field(description="Share of right answers among them, 0 to 1.")
    count: int = Field(description="Number of these images.")


class ConfidenceFigures(Part):
    """How far confidences keep what they promise."""

    expected_calibration_error: Number = Field(description="0 to 1.")
    error_by_chance: Number = Field(
        description="About what it would be if every confidence were true, 0 to 1."
    )
    loss: Number = Field(description="Mean cross-entropy in nats.")
    bins: list[ConfidenceBin] = Field(description="The bins that hold images, in order.")


class CalibrationFigures(Part):
    """Confidences as trained, and with logits divided by a temperature."""

    uncalibrated: ConfidenceFigures = Field(description="As trained.")
    calibrated: ConfidenceFigures | None = Field(description="With the temperature.")
    temperature: Number = Field(description="Fitted on the validation images; null if none.")
    reason: str = Field(description="Why there is no temperature; empty if there is one.")
    applied: bool = Field(description="Whether the saved model has the temperature.")


class EvaluationFigures(Part):
    """Figures on the test images."""

    accuracy: Share = Field(description="Share of right answers, 0 to 1.")
    accuracy_interval: tuple[float, float] | None = Field(
        description="95 % interval of the accuracy, 0 to 1."
    )
    balanced_accuracy: Number = Field(description="Mean recall over the classes, 0 to 1.")
    macro_f1: Number = Field(description="Mean F1 over the classes, 0 to 1.")
    top_5: Number = Field(description="Top-5 accuracy, 0 to 1; null with five classes or fewer.")
    loss: Number = Field(description="Mean cross-entropy in nats.")
    classes: list[ClassFigures] = Field(description="In the order of the labels.")
    averages: list[ClassFigures] = Field(description="Macro and weighted average.")
    confusion_matrix: list[list[int]] = Field(
        description="Numbers of test images; row: true class, column: predicted class."
    )
    calibration: CalibrationFigures | None = Field(description="null in runs of before.")
