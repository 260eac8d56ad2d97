"""Parameters and metrics of a run, under names that MLflow takes."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping

from tlkit import RunInfo, RunResult

_VALUE_LIMIT, _KEY_LIMIT = 6000, 250


def parameters(run: RunInfo) -> dict[str, str]:
    """Return the flattened config and the sizes of the data, each up to 6,000 characters."""
    sizes = {
        "data.train_images": run.num_train,
        "data.validation_images": run.num_validation,
        "data.test_images": run.num_test,
        "data.classes": len(run.class_names),
    }
    found: Mapping[str, object] = {**run.settings, **sizes}
    return {key: str(value)[:_VALUE_LIMIT] for key, value in found.items()}


def test_metrics(result: RunResult) -> dict[str, float]:
    """Return the test figures, those of each class, and the seconds of the run's parts."""
    test = result.test
    found = {f"test_{key}": value for key, value in test.scalars.items()}
    for name, item in zip(metric_names(x.name for x in test.classes), test.classes, strict=True):
        found[f"precision/{name}"] = item.precision
        found[f"recall/{name}"] = item.recall
        found[f"f1/{name}"] = item.f1
    found |= {f"seconds/{key}": value for key, value in result.seconds.items()}
    return found


def metric_names(names: Iterable[str]) -> list[str]:
    """Return names for the end of a metric's key, one for each class and no two the same.

    MLflow takes letters, digits, ``_``, ``-``, ``.`` and spaces; others become ``_``.
    """
    found: list[str] = []
    seen: set[str] = set()
    for number, name in enumerate(names):
        fitting = re.sub(r"[^\w.\- ]", "_", name)[: _KEY_LIMIT - 30].strip()
        if not fitting or posixpath.normpath(fitting) != fitting or fitting in (".", ".."):
            fitting = f"class {number}"
        # Databases differ in whether they tell upper from lower case.
        if fitting.casefold() in seen:
            fitting = f"{fitting} ({number})".replace("(", "").replace(")", "")
        seen.add(fitting.casefold())
        found.append(fitting)
    return found


def phases_text(result: RunResult) -> str:
    """Return which epochs belong to which phase, such as ``frozen 1 to 5, fine-tune 6 to 13``."""
    parts, last = [], 0
    for item in result.phases:
        first, last = last + 1, last + item.num_epochs
        parts.append(f"{item.phase.name} {first} to {last}")
    return ", ".join(parts)
