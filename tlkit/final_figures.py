"""The figures of a trained model: its temperature, its test, and its answers on validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tlkit.calibration import (
    LEAST_TEMPERATURE,
    MOST_TEMPERATURE,
    fit_temperature,
    measure_calibration,
    softmax,
)
from tlkit.evaluation import evaluate
from tlkit.model import with_temperature
from tlkit.records import Evaluation, Float32Array, Int64Array
from tlkit.session import Session

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class FinalFigures:
    """What a run ends with.

    Attributes:
        test: The figures on the test images.
        model: The model that they are of, and that is saved.
        validation: Its labels (N,) and probabilities (N, number of classes) on the validation
            images; None where these are the test images.
    """

    test: Evaluation
    model: keras.Model
    validation: tuple[Int64Array, Float32Array] | None


def final_figures(session: Session, calibrate: bool) -> FinalFigures:
    """Test what a session has trained.

    Args:
        session: The session after its training.
        calibrate: Whether the saved model divides its logits by the fitted temperature. Where there
            is none, a warning of the session's events says why.
    """
    answered = None if session.validates_on_test else session.logits("validation")
    temperature, reason = _fit_temperature(answered)
    applied = temperature if calibrate else None
    if calibrate and applied is None:
        session.events.warnings.append(f"The model is not calibrated: {reason}.")
    logits, labels = session.logits("test")
    calibration = measure_calibration(
        labels, logits, temperature, reason=reason, applied=applied is not None
    )
    test = evaluate(labels, softmax(logits, applied or 1.0), session.class_names, calibration)
    validation = None
    if answered is not None:
        validation = answered[1], softmax(answered[0], applied or 1.0)
    model = with_temperature(session.model, applied) if applied else session.model.model
    return FinalFigures(test, model, validation)


def _fit_temperature(
    answered: tuple[Float32Array, Int64Array] | None,
) -> tuple[float | None, str]:
    """Return the temperature of the validation images, or None and why there is none."""
    if answered is None:
        return None, "validation is the test set"
    logits, labels = answered
    temperature = fit_temperature(labels, logits)
    allowed = f"{LEAST_TEMPERATURE:g} to {MOST_TEMPERATURE:g}"
    reason = (
        f"on the {len(labels)} validation images the best is not within {allowed}, as where nearly "
        f"all answers are right, or no better than chance"
    )
    return temperature, reason if temperature is None else ""
