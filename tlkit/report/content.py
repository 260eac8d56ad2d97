"""Content: what the page of one run says, as plain values for its template."""

from __future__ import annotations

from typing import Any

from tlkit.records import RunResult
from tlkit.report import charts
from tlkit.report.cost_rows import engine_rows, extraction_rows, time_parts
from tlkit.report.evaluation_rows import (
    accuracy_bar,
    average_row,
    calibration_rows,
    class_rows,
    confusions,
    reliability_rows,
    tiles,
)
from tlkit.report.repeating import command, config_lines, install_command, is_repeatable
from tlkit.report.training_rows import epoch_rows, phase_row, setup, subtitle, thinned
from tlkit.report.words import LONG_TEXT_LIMIT, duration, held_out, text
from tlkit.wording import date

MAX_LINES = 100


def content(result: RunResult) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the template shows, and the charts by the id of their element."""
    info, test = result.info, result.test
    found: dict[str, Any] = {}
    curves = thinned(result.phases)
    rows = epoch_rows(curves)
    # One epoch, as of a head that is solved, makes no curve.
    for key in ("loss", "accuracy") if len(rows) > 1 else ():
        curve = charts.learning_curve(curves, key, held_out(info))
        if curve is not None:
            found[f"chart-{key}"] = curve
    if test.calibration is not None and test.calibration.saved.bins:
        found["chart-reliability"] = charts.reliability_diagram(test.calibration)
        found["chart-confidence"] = charts.confidence_histogram(test.calibration)
    parts = time_parts(result.seconds)
    values = {
        "name": text(info.name),
        "subtitle": subtitle(info),
        "date": date(info.began),
        "test_accuracy": test.accuracy,
        "tiles": tiles(result),
        "accuracy": accuracy_bar(result),
        "warnings": [text(item, LONG_TEXT_LIMIT) for item in result.warnings[:MAX_LINES]],
        "notes": [text(item, LONG_TEXT_LIMIT) for item in info.notes[:MAX_LINES]],
        "setup": setup(result),
        "phases": [phase_row(item) for item in result.phases],
        "versions": [(key, text(value)) for key, value in result.environment.items()],
        "fingerprints": [(key, text(value)) for key, value in result.fingerprints.items()],
        "epochs": rows,
        "all_epochs": curves == list(result.phases),
        "held_out": held_out(info),
        "classes": class_rows(result),
        "num_classes": len(info.class_names),
        "has_train_counts": bool(info.class_counts),
        "averages": [average_row(item) for item in test.averages],
        "confusions": confusions(result),
        "mistakes": int((test.predictions != test.labels).sum()),
        "num_test": len(test.labels),
        "calibration": calibration_rows(result),
        "reliability": reliability_rows(result),
        "parts": parts,
        "total_seconds": duration(result.seconds.get("total", 0.0)),
        "extractions": extraction_rows(result),
        "stored": [key for key, value in result.feature_cache.items() if value == "stored"],
        "engines": engine_rows(result),
        "command": command(result),
        "python": text(result.environment.get("python", "?")),
        "install": install_command(result.environment),
        "config": config_lines(info),
        "repeatable": is_repeatable(info),
    }
    return values, found
