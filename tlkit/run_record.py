"""RunRecord: what ``run.json`` must hold, so that whoever shows a run can rely on it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tlkit.records import (
    Calibration,
    ClassReport,
    EngineTrial,
    Extraction,
    PhaseResult,
    Reliability,
    RunInfo,
)

# TOML's, and more than any count of images or parameters.
MAX_INTEGER = 2**63 - 1
MAX_DEPTH = 50
# Three hundred years: a clock can show them.
MAX_SECONDS = 1e10
# That of float32: axes of larger values overflow.
MAX_FLOAT = 3.5e38
_LONE_SURROGATE = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS)]
Table = dict[str, Any]


class _Looks(BaseModel):
    mirror: bool = False
    scales: list[float] = []


class _Named(BaseModel):
    name: str = ""


class _Config(BaseModel):
    """The tables that reports name; whatever else is in them is shown as it is."""

    run: _Named = _Named()
    dataset: _Named = _Named()
    backbone: _Named = _Named()
    head: _Named = _Named()
    workflow: _Named = _Named()
    engine: _Named = _Named()
    features: Table = {}
    test_time_augmentation: _Looks = _Looks()
    reporters: list[_Named] = []


class _Test(BaseModel):
    accuracy: Share
    loss: float
    confusion_matrix: list[list[Count]]
    classes: tuple[ClassReport, ...]
    averages: tuple[ClassReport, ...]
    accuracy_interval: tuple[Share, Share] | None = None
    balanced_accuracy: Share | None = None
    top_5: Share | None = None
    calibration: Calibration | None = None


class RunRecord(BaseModel):
    """The record of a finished run."""

    model_config = ConfigDict(strict=True)

    info: RunInfo
    phases: Annotated[tuple[PhaseResult, ...], Field(min_length=1)]
    test: _Test
    seconds: dict[str, Seconds]
    fingerprints: dict[str, str]
    environment: dict[str, str]
    feature_cache: dict[str, str]
    extractions: tuple[Extraction, ...] = ()
    engine_trials: tuple[EngineTrial, ...] = ()
    warnings: tuple[str, ...]


def read_record(text: str) -> dict[str, Any]:
    """Return the JSON values of a record.

    Raises:
        ValueError: If it is no JSON object, is nested too deep, or has a whole number of more
            than 64 bits.
    """
    value = json.loads(text, parse_int=_integer)
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
        inner = item.values() if isinstance(item, dict) else item
        waiting += [(part, depth + 1) for part in inner if isinstance(part, dict | list)]
    return value


def check_record(record: dict[str, Any], labels: Any, probabilities: Any) -> None:
    """Check that a record and the predictions are such as a run leaves behind, and fit together.

    Args:
        record: What ``read_record()`` returned.
        labels: The labels of the test images.
        probabilities: What the model says of them.

    Raises:
        ValueError: If they are not; the message names the key.
    """
    found = _validated(RunRecord, record)
    config = _validated(_Config, record["info"]["config"])
    info, test = found.info, found.test
    if "total" not in found.seconds:
        raise ValueError("seconds has no total")
    number = len(info.class_names)
    if not number or len(test.confusion_matrix) != number or len(test.classes) != number:
        raise ValueError(f"its figures are not those of {number} classes")
    if any(len(row) != number for row in test.confusion_matrix):
        raise ValueError("its confusion matrix is not square")
    if info.lineage is not None and not info.lineage.ancestors:
        raise ValueError("its lineage names no run")
    if len(info.class_counts) not in (0, number):
        raise ValueError(f"it counts the images of {len(info.class_counts)} classes")
    if not all(0.1 <= scale <= 10 for scale in config.test_time_augmentation.scales):
        raise ValueError(f"its scales are {config.test_time_augmentation.scales}")
    for name, value in _numbers(found):
        if not 0 <= value <= (MAX_SECONDS if name.endswith("seconds") else MAX_INTEGER):
            raise ValueError(f"{name} is {value}")
    for name, value in _shares(found):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}")
    for phase in found.phases:
        _check_history(phase.history)
    _check_calibration(test.calibration)
    check_answers(labels, probabilities, number)


def _check_history(history: Mapping[str, Sequence[float]]) -> None:
    for name, values in history.items():
        for value in values:
            # A loss may be NaN: the epoch that ended a phase is kept as it was.
            most = 1 if name.endswith("accuracy") else MAX_FLOAT
            if math.isfinite(value) and abs(value) > most:
                raise ValueError(f"{name} of an epoch is {value}")


def _check_calibration(found: Calibration | None) -> None:
    if found is None:
        return
    temperature = found.temperature
    if (temperature is None) != (found.calibrated is None):
        raise ValueError("its calibration has one of temperature and calibrated figures alone")
    if temperature is not None and not 0 < temperature < float("inf"):
        raise ValueError(f"its temperature is {temperature}")


def check_answers(labels: Any, probabilities: Any, classes: int) -> None:
    """Check what a model said of labelled images.

    Args:
        labels: Values 0 to classes - 1, (N,).
        probabilities: Values 0 to 1, (N, classes).
        classes: The number of classes.

    Raises:
        ValueError: If they are none.
    """
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or not len(labels):
        raise ValueError(f"its labels are {labels.dtype} of shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"its labels are {labels.min()} to {labels.max()}, of {classes} classes")
    floating = np.issubdtype(probabilities.dtype, np.floating)
    if not floating or probabilities.shape != (len(labels), classes):
        shape = f"{probabilities.dtype} of shape {probabilities.shape}"
        raise ValueError(f"its probabilities are {shape}")
    if not (probabilities >= 0).all() or not (probabilities <= 1.001).all():
        raise ValueError("its probabilities are not within 0 to 1")


def _validated(model: type[Any], value: Any) -> Any:
    # Class names may hold what is no text (file names that are not UTF-8), which pydantic refuses.
    text = _LONE_SURROGATE.sub(r"\\u003f", json.dumps(value))
    try:
        return model.model_validate_json(text, strict=True)
    except ValidationError as err:
        problem = err.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ValueError(f"{where or 'the record'}: {problem['msg']}") from err


def _numbers(record: RunRecord) -> Iterator[tuple[str, float]]:
    info = record.info
    for name in ("num_train", "num_validation", "num_test"):
        yield name, getattr(info, name)
    for count in (*info.class_counts, *info.duplicates.values()):
        yield "a number of images", count
    if info.lineage is not None:
        lineage = info.lineage
        yield "lineage.known_test_images", lineage.known_test_images
        yield "lineage.seen_test_images", lineage.seen_test_images or 0
        yield "lineage.seen_validation_images", lineage.seen_validation_images or 0
        for ancestor in lineage.ancestors:
            for name in ("num_test", "num_classes", "epochs"):
                yield f"lineage.{name}", getattr(ancestor, name)
    for item in record.phases:
        yield "phases.seconds", item.seconds
        for name, value in vars(item.phase).items():
            if name != "name":
                yield f"phases.{name}", value
        if item.kept_epoch is not None and item.kept_epoch < 1:
            yield "phases.kept_epoch", -1
    for extraction in record.extractions:
        for name in ("num_images", "batch_size", "seconds"):
            yield f"extractions.{name}", getattr(extraction, name)
        for value in extraction.stage_seconds.values():
            yield "extractions.stage_seconds", value
        for images in extraction.workers.values():
            yield "extractions.workers", images
    for trial in record.engine_trials:
        for name in ("images_per_second", "reference_images_per_second", "setup_seconds"):
            yield f"engine_trials.{name}", getattr(trial, name)
    for report in (*record.test.classes, *record.test.averages):
        yield "a number of images", report.support


def _shares(record: RunRecord) -> Iterator[tuple[str, float]]:
    test, lineage = record.test, record.info.lineage
    if lineage is not None:
        yield "lineage.accuracy_before", lineage.accuracy_before or 0
        yield "lineage.accuracy_after", lineage.accuracy_after or 0
        for ancestor in lineage.ancestors:
            yield "lineage.accuracy", ancestor.accuracy
    for report in (*test.classes, *test.averages):
        for name in ("precision", "recall", "f1"):
            yield name, getattr(report, name)
    if test.calibration is not None:
        for item in (test.calibration.uncalibrated, test.calibration.calibrated):
            if item is not None:
                yield from _shares_of(item)


def _shares_of(item: Reliability) -> Iterator[tuple[str, float]]:
    yield "expected_calibration_error", item.expected_calibration_error
    yield "error_by_chance", item.error_by_chance
    for group in item.bins:
        for name in ("lower", "upper", "confidence", "accuracy"):
            yield f"bins.{name}", getattr(group, name)


def _integer(text: str) -> int:
    # Longer ones would be too much for int() itself.
    value = int(text) if len(text) <= 20 else MAX_INTEGER + 1
    if abs(value) > MAX_INTEGER:
        raise ValueError(f"a number of {len(text)} digits")
    return value
