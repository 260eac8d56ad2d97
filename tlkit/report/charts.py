"""Charts of the report as Vega-Lite specifications: plain JSON, coloured by the page's theme."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tlkit.records import Calibration, PhaseResult, Reliability
from tlkit.text import printable

Spec = dict[str, Any]
_TRAIN = "train"
_NAME_LIMIT = 30
_MAX_EPOCHS_WITH_POINTS, _MAX_TICKS = 60, 10
_ROW_HEIGHT = 26


def learning_curve(phases: Sequence[PhaseResult], key: str, held_out: str) -> Spec | None:
    """Return loss or accuracy against the epoch, every phase marked; None without a value.

    Args:
        phases: The phases, in order; their epochs are numbered through.
        key: ``"loss"`` or ``"accuracy"``.
        held_out: What the validation images are called.
    """
    rows = _epoch_values(phases, key, held_out)
    if all(row["value"] is None for row in rows):
        return None
    total = sum(item.num_epochs for item in phases)
    title = "Accuracy (%)" if key == "accuracy" else "Cross-entropy loss (nats)"
    step = max(1, math.ceil(total / _MAX_TICKS))
    ticks = list(range(step, total + 1, step))
    epochs = {
        "field": "epoch",
        "type": "quantitative",
        "title": "Epoch",
        "scale": {"domain": [0.5, total + 0.5], "nice": False, "zero": False},
        "axis": {"values": ticks, "format": "d", "grid": False},
    }
    # A loss has no upper end; an axis of accuracies must not go beyond 100 %.
    values = {"zero": False, "domainMax": 100} if key == "accuracy" else {"zero": False}
    line = {
        "data": {"values": rows},
        "mark": {"type": "line", "point": total <= _MAX_EPOCHS_WITH_POINTS},
        "encoding": {
            "x": epochs,
            "y": {
                "field": "value",
                "type": "quantitative",
                "title": title,
                "scale": values,
            },
            "color": _colours("images", (_TRAIN, held_out)),
            "strokeDash": {"field": "images", "sort": None, "legend": None},
            "tooltip": [
                {"field": "images", "title": "Images"},
                {"field": "epoch", "title": "Epoch"},
                {"field": "phase", "title": "Phase"},
                {"field": "value", "title": title, "format": ".4f" if key == "loss" else ".2f"},
            ],
        },
    }
    return {"layer": [*_phase_marks(phases, epochs), line], "height": 260}


def _epoch_values(phases: Sequence[PhaseResult], key: str, held_out: str) -> list[Spec]:
    """Return the values of training and validation, the epochs numbered through."""
    rows: list[Spec] = []
    begin = 0
    scale = 100 if key == "accuracy" else 1
    for item in phases:
        name = printable(item.phase.name, _NAME_LIMIT)
        for column, label in ((key, _TRAIN), (f"val_{key}", held_out)):
            for number, value in enumerate(item.history.get(column, ()), begin + 1):
                # JSON has no way to write NaN and infinity, which leave a gap in the line.
                shown = round(scale * value, 5) if math.isfinite(value) else None
                rows.append({"epoch": number, "value": shown, "images": label, "phase": name})
        begin += item.num_epochs
    return rows


def _phase_marks(phases: Sequence[PhaseResult], epochs: Spec) -> list[Spec]:
    """Return where each phase begins, its name, and the epoch whose weights were kept."""
    marks, kept, begin = [], [], 0
    for item in phases:
        name = printable(item.phase.name, _NAME_LIMIT)
        if item.num_epochs:
            marks.append({"start": begin + 0.5, "phase": name})
        if item.kept_epoch is not None:
            kept.append({"epoch": begin + item.kept_epoch, "phase": name})
        begin += item.num_epochs
    starts = {**epochs, "field": "start"}
    phase_rules = {
        "data": {"values": marks[1:]},
        "mark": {"type": "rule", "style": "phase"},
        "encoding": {"x": starts},
    }
    phase_names = {
        "data": {"values": marks},
        "mark": {"type": "text", "style": "phase-name"},
        "encoding": {"x": starts, "text": {"field": "phase"}, "y": {"value": -8}},
    }
    kept_rules = {
        "data": {"values": kept},
        "mark": {"type": "rule", "style": "kept"},
        "encoding": {"x": epochs},
    }
    return [phase_rules, phase_names, kept_rules]


def reliability_diagram(calibration: Calibration) -> Spec:
    """Return accuracy against confidence, the diagonal being perfect."""
    rows = _bins(calibration)
    accuracy = {
        "field": "accuracy",
        "type": "quantitative",
        "title": "Accuracy (%)",
        "scale": {"domain": [0, 100]},
    }
    diagonal = {
        "data": {"values": [{"x": 0, "y": 0}, {"x": 100, "y": 100}]},
        "mark": {"type": "line", "style": "diagonal"},
        "encoding": {
            "x": {"field": "x", "type": "quantitative"},
            "y": {"field": "y", "type": "quantitative"},
        },
    }
    line = {
        "data": {"values": rows},
        "mark": {"type": "line", "point": True},
        "encoding": {
            "x": {
                "field": "confidence",
                "type": "quantitative",
                "title": "Confidence: probability of the answer (%)",
                "scale": {"domain": [0, 100]},
            },
            "y": accuracy,
            "color": _colours("model", list(_models(calibration))),
            "strokeDash": {"field": "model", "sort": None, "legend": None},
            "tooltip": [
                {"field": "model", "title": "Model"},
                {"field": "confidence", "title": "Mean confidence (%)", "format": ".1f"},
                {"field": "accuracy", "title": "Accuracy (%)", "format": ".1f"},
                {"field": "images", "title": "Test images", "format": ","},
            ],
        },
    }
    return {"layer": [diagonal, line], "height": 260}


def confidence_histogram(calibration: Calibration) -> Spec:
    """Return how many test images lie in each bin of confidence, of the model that is saved."""
    saved = _bins(calibration)
    name = saved[0]["model"] if saved else ""
    return {
        "data": {"values": [row for row in saved if row["model"] == name]},
        "mark": {"type": "bar", "binSpacing": 1},
        "encoding": {
            "x": {
                "field": "lower",
                "type": "quantitative",
                "bin": {"binned": True},
                "title": f"Confidence (%), {name}",
                "scale": {"domain": [0, 100]},
            },
            "x2": {"field": "upper"},
            "y": {"field": "images", "type": "quantitative", "title": "Test images"},
            "tooltip": [
                {"field": "lower", "title": "Above (%)", "format": ".1f"},
                {"field": "upper", "title": "Up to (%)", "format": ".1f"},
                {"field": "images", "title": "Test images", "format": ","},
            ],
        },
        "height": 260,
    }


def accuracy_of_runs(rows: Sequence[Mapping[str, Any]], backbones: Sequence[str]) -> Spec:
    """Return the accuracy of each run with its interval.

    Args:
        rows: Each with ``run``, ``accuracy``, ``low``, ``high`` (per cent) and ``backbone``.
        backbones: What gets a colour, in order.
    """
    runs = {
        "field": "run",
        "type": "nominal",
        "sort": None,
        "title": None,
        "axis": {"labelLimit": 260},
    }
    accuracy = {
        "field": "accuracy",
        "type": "quantitative",
        "title": "Test accuracy (%)",
        "scale": {"zero": False, "padding": 12},
        "axis": {"tickCount": 6, "format": "~f"},
    }
    colour = _colours("backbone", backbones)
    return {
        "data": {"values": [dict(row) for row in rows]},
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {
                    "y": runs,
                    "x": {**accuracy, "field": "low"},
                    "x2": {"field": "high"},
                    "color": colour,
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
                "encoding": {
                    "y": runs,
                    "x": accuracy,
                    "color": colour,
                    "tooltip": [
                        {"field": "run", "title": "Run"},
                        {"field": "accuracy", "title": "Accuracy (%)", "format": ".2f"},
                        {"field": "low", "title": "Lower end (%)", "format": ".2f"},
                        {"field": "high", "title": "Upper end (%)", "format": ".2f"},
                        {"field": "backbone", "title": "Backbone"},
                    ],
                },
            },
        ],
        "height": _ROW_HEIGHT * max(len(rows), 2),
    }


def _colours(field: str, names: Sequence[str]) -> Spec:
    legend = {"orient": "bottom", "title": None} if len(names) > 1 else None
    return {
        "field": field,
        "type": "nominal",
        "scale": {"domain": list(names)},
        "legend": legend,
    }


def _models(calibration: Calibration) -> dict[str, Reliability]:
    """Return the saved model first, then the other one."""
    found = {"as trained": calibration.uncalibrated}
    if calibration.calibrated is not None:
        found[f"temperature {calibration.temperature:.2f}"] = calibration.calibrated
    if calibration.applied:
        found = dict(reversed(found.items()))
    return found


def _bins(calibration: Calibration) -> list[Spec]:
    return [
        {
            "model": name,
            "lower": round(100 * item.lower, 3),
            "upper": round(100 * item.upper, 3),
            "confidence": round(100 * item.confidence, 3),
            "accuracy": round(100 * item.accuracy, 3),
            "images": item.count,
        }
        for name, found in _models(calibration).items()
        for item in found.bins
    ]
