"""The content of run.json: a result as plain JSON values, and back."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from tlkit.errors import RunFolderError
from tlkit.records import (
    Calibration,
    ClassReport,
    EngineTrial,
    Evaluation,
    Extraction,
    Lineage,
    Phase,
    PhaseResult,
    RunInfo,
    RunResult,
)
from tlkit.run_record import check_record

SCHEMA_VERSION = 1
_STAMP = re.compile(r"(\d{8})-(\d{6})(?:-|$)")


def to_json(result: RunResult) -> dict[str, Any]:
    """Return a result as plain JSON values, without model, images and probabilities."""
    info = dataclasses.asdict(result.info)
    info["folder"] = None if result.folder is None else str(result.folder)
    info["config"] = plain(result.info.config)
    calibration = result.test.calibration
    return {
        "schema_version": SCHEMA_VERSION,
        "info": info,
        "phases": [dataclasses.asdict(phase) for phase in result.phases],
        "test": {
            "accuracy": result.test.accuracy,
            "loss": result.test.loss,
            "confusion_matrix": result.test.confusion_matrix.tolist(),
            "classes": [dataclasses.asdict(item) for item in result.test.classes],
            "averages": [dataclasses.asdict(item) for item in result.test.averages],
            "accuracy_interval": result.test.accuracy_interval,
            "balanced_accuracy": result.test.balanced_accuracy,
            "top_5": result.test.top_5,
            "calibration": calibration and dataclasses.asdict(calibration),
        },
        "seconds": dict(result.seconds),
        "fingerprints": dict(result.fingerprints),
        "environment": dict(result.environment),
        "feature_cache": dict(result.feature_cache),
        "extractions": [dataclasses.asdict(item) for item in result.extractions],
        "engine_trials": [dataclasses.asdict(item) for item in result.engine_trials],
        "warnings": list(result.warnings),
    }


def from_json(folder: Path, record: dict[str, Any], labels: Any, probabilities: Any) -> RunResult:
    """Return the result that ``to_json()`` wrote; the model stays on disk.

    Args:
        folder: The run folder.
        record: The content of its ``run.json``.
        labels: Those of the test images (N,).
        probabilities: What the model says of them (N, number of classes).

    Raises:
        RunFolderError: If another version of tlkit wrote it.
        ValueError: If the parts do not fit each other.
    """
    if record.get("schema_version") != SCHEMA_VERSION:
        raise RunFolderError(
            f"schema_version {record.get('schema_version')!r}; this tlkit reads {SCHEMA_VERSION}"
        )
    check_record(record, labels, probabilities)
    info, test = record["info"], record["test"]
    interval = test.get("accuracy_interval")
    return RunResult(
        info=RunInfo(
            **{
                # Runs of earlier versions say it in their config alone.
                "validates_on_test": info["config"].get("run", {}).get("validation") == "test",
                **info,
                "folder": folder,
                "began": str(info.get("began") or _stamp_of(folder)),
                "class_names": tuple(info["class_names"]),
                "notes": tuple(info["notes"]),
                "idle_options": {
                    kind: tuple(names) for kind, names in info.get("idle_options", {}).items()
                },
                "class_counts": tuple(info.get("class_counts", ())),
                "lineage": TypeAdapter(Lineage | None).validate_python(info.get("lineage")),
            }
        ),
        phases=tuple(
            PhaseResult(**{**item, "phase": Phase(**item["phase"])}) for item in record["phases"]
        ),
        test=Evaluation(
            accuracy=test["accuracy"],
            loss=test["loss"],
            labels=labels,
            probabilities=probabilities,
            confusion_matrix=np.array(test["confusion_matrix"], dtype=np.int64),
            classes=tuple(ClassReport(**item) for item in test["classes"]),
            averages=tuple(ClassReport(**item) for item in test["averages"]),
            # Runs of earlier versions lack the keys below.
            accuracy_interval=interval and (interval[0], interval[1]),
            balanced_accuracy=test.get("balanced_accuracy"),
            top_5=test.get("top_5"),
            calibration=TypeAdapter(Calibration | None).validate_python(test.get("calibration")),
        ),
        seconds=record["seconds"],
        fingerprints=record["fingerprints"],
        environment=record["environment"],
        feature_cache=record["feature_cache"],
        extractions=tuple(Extraction(**item) for item in record.get("extractions", ())),
        engine_trials=tuple(EngineTrial(**item) for item in record.get("engine_trials", ())),
        warnings=tuple(record["warnings"]),
    )


def _stamp_of(folder: Path) -> str:
    """Return when a run's folder was made, as its name says: ISO 8601 of some time zone."""
    found = _STAMP.match(folder.name)
    return f"{found[1]}T{found[2]}" if found else ""


def plain(value: Any) -> Any:
    """Return a value as what JSON and TOML can write; None is left out of mappings."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.ndarray):
        return f"<array {value.shape} {value.dtype}>"
    return f"<{type(value).__module__}.{type(value).__qualname__}>"
