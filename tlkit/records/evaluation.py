"""The test figures: accuracy, classes, and how far confidences can be believed."""

from __future__ import annotations

from dataclasses import dataclass

from tlkit.records.arrays import Float32Array, Int64Array


@dataclass(frozen=True)
class ClassReport:
    """Figures of one class, or of an average over classes, on the test set; each 0 to 1."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class ReliabilityBin:
    """The images whose confidence, the largest probability, lies above lower and up to upper.

    Attributes:
        lower: Lower edge, 0 to 1.
        upper: Upper edge, 0 to 1.
        confidence: Mean confidence of these images, 0 to 1.
        accuracy: Share of right answers among them, 0 to 1.
        count: Number of these images, 1 or more.
    """

    lower: float
    upper: float
    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True)
class Reliability:
    """How far confidences keep what they promise.

    Attributes:
        expected_calibration_error: Mean distance between confidence and accuracy, 0 to 1.
        error_by_chance: About what it would be, on as many images with the same confidences, if
            every confidence were true, 0 to 1; an error no larger than this shows nothing.
        loss: Mean cross-entropy in nats.
        bins: The reliability diagram: the bins that hold images, in order.
    """

    expected_calibration_error: float
    error_by_chance: float
    loss: float
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class Calibration:
    """The test images' confidences as trained, and with logits divided by a temperature.

    Attributes:
        uncalibrated: Of the model as it was trained.
        calibrated: With the temperature; None where there is none.
        temperature: Fitted on the validation images, above 0: above 1 it makes the model less
            confident, below 1 more. It changes no answer. None where none could be fitted.
        reason: Why there is no temperature; empty if there is one.
        applied: Whether the saved model, and so every other test figure, has the temperature.
    """

    uncalibrated: Reliability
    calibrated: Reliability | None = None
    temperature: float | None = None
    reason: str = ""
    applied: bool = False

    @property
    def saved(self) -> Reliability:
        """Of the model that is saved."""
        return self.calibrated if self.applied and self.calibrated else self.uncalibrated


@dataclass(frozen=True)
class Evaluation:
    """The test figures, all from one pass over the test images.

    Attributes:
        accuracy: Share of right answers, 0 to 1.
        loss: Mean cross-entropy in nats.
        labels: int64 array of shape (N,).
        probabilities: float32 array of shape (N, number of classes), rows sum to 1.
        confusion_matrix: int64 array (classes, classes); row = true class, column = predicted.
        classes: One report for each class.
        averages: The macro and the weighted average.
        accuracy_interval: Lower and upper end of the 95 % interval of the accuracy, 0 to 1.
        balanced_accuracy: Mean recall of the classes that the test images have, 0 to 1.
        top_5: Share of images whose class is among the five most probable, 0 to 1; None where
            there are five classes or fewer.
        calibration: Whether the probabilities can be believed.

    The last four are None where a run was recorded before they were measured.
    """

    accuracy: float
    loss: float
    labels: Int64Array
    probabilities: Float32Array
    confusion_matrix: Int64Array
    classes: tuple[ClassReport, ...]
    averages: tuple[ClassReport, ...]
    accuracy_interval: tuple[float, float] | None = None
    balanced_accuracy: float | None = None
    top_5: float | None = None
    calibration: Calibration | None = None

    def __repr__(self) -> str:
        """Return the figures and the sizes; the arrays would fill screens."""
        return (
            f"Evaluation(accuracy={self.accuracy:.4f}, loss={self.loss:.4f}, "
            f"images={len(self.labels)}, classes={len(self.classes)})"
        )

    @property
    def macro_f1(self) -> float | None:
        """Mean F1 over all classes, 0 to 1; None without averages."""
        return next((item.f1 for item in self.averages if item.name == "macro avg"), None)

    @property
    def scalars(self) -> dict[str, float]:
        """The figures that are one number, by the name that tools get; unknown ones are left out.

        ``accuracy`` and its interval's ends ``accuracy_low`` and ``accuracy_high``, ``loss``,
        ``balanced_accuracy``, ``macro_f1``, ``top_5_accuracy``, ``calibration_error``.
        """
        low, high = self.accuracy_interval or (None, None)
        saved = None if self.calibration is None else self.calibration.saved
        found = {
            "accuracy": self.accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
            "loss": self.loss,
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
            "top_5_accuracy": self.top_5,
            "calibration_error": None if saved is None else saved.expected_calibration_error,
        }
        return {key: float(value) for key, value in found.items() if value is not None}

    @property
    def predictions(self) -> Int64Array:
        """The most probable class of each image: int64 array of shape (N,)."""
        found: Int64Array = self.probabilities.argmax(axis=1)
        return found

    @property
    def confident_mistakes(self) -> Int64Array:
        """Indices of all wrong answers, the most confident first: int64 array of shape (M,)."""
        import numpy as np

        wrong = np.flatnonzero(self.predictions != self.labels)
        confidences = self.probabilities[wrong].max(axis=1)
        found: Int64Array = wrong[np.argsort(-confidences, kind="stable")]
        return found

    @property
    def least_certain(self) -> Int64Array:
        """Indices of all test images, the lowest confidence first: int64 array of shape (N,)."""
        found: Int64Array = self.probabilities.max(axis=1).argsort(kind="stable")
        return found

    def confusions(self, most: int) -> list[tuple[int, int, int]]:
        """Return what is confused most often: true class, predicted class, number of images.

        Args:
            most: How many pairs of classes at the most, 0 or more.
        """
        import numpy as np

        wrong = self.confusion_matrix.copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        pairs = (divmod(int(place), len(wrong)) for place in order)
        return [
            (true, predicted, int(wrong[true, predicted]))
            for true, predicted in pairs
            if wrong[true, predicted] > 0
        ]
