"""Content: what the page of one run says, as plain values for its template."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlkit.records import PhaseResult, RunInfo, RunResult
from tlkit.report import charts
from tlkit.run_folder import CONFIG, MODEL, config_text
from tlkit.text import printable
from tlkit.wording import (
    clock,
    date,
    lineage_rows,
    old_classes_text,
    percent,
    plural,
    rate,
    share_rows,
)

TEXT_LIMIT, LONG_TEXT_LIMIT = 80, 2000
MAX_LINES, MAX_EPOCHS, MAX_CLASS_ROWS = 100, 600, 1000
MAX_CONFUSIONS = 8
_PARTS = {
    "start": "Starting TensorFlow",
    "data": "Loading the data",
    "model": "Building the model",
    "features": "Extracting features",
    "training": "Training",
    "checkpoints": "Keeping epochs",
    "evaluation": "Testing",
    "saving": "Saving",
    "reports": "Reports",
}
_LEAKS = {
    "test": "test images are also training images",
    "validation": "validation images are also training images",
    "validation_in_test": "validation images are also test images",
    "label_conflicts": "images have two labels",
}
_MEANINGS = {
    "Balanced accuracy": "mean recall of the classes",
    "Macro F1": "each class counts alike",
    "Top-5 accuracy": "class among the five most probable",
}
_MACHINE = ("python", "platform", "processor", "cpu_count")


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
        "repeatable": "<" not in "".join(_strings(info.config)),
    }
    return values, found


def text(value: object, limit: int = TEXT_LIMIT) -> str:
    """Return text from outside without control characters, cut to a limit."""
    return printable(str(value), limit)


def held_out(info: RunInfo) -> str:
    """Return what the images are that were validated on."""
    return "test set as validation" if info.validates_on_test else "validation"


def subtitle(info: RunInfo) -> str:
    """Return the plugins and the size of the run in a line."""
    names = {
        kind: text(info.config.get(kind, {}).get("name", "?"))
        for kind in ("backbone", "head", "dataset")
    }
    return f"{names['backbone']} with {names['head']} on {names['dataset']}"


def duration(seconds: float) -> str:
    """Return seconds as a person would say them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{clock(seconds)} {'h' if seconds >= 3600 else 'min'}"


def size_text(count: int) -> str:
    """Return a number of bytes in kB or MB."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def model_bytes(folder: Path | None) -> int | None:
    """Return the size of the saved model; None if there is none."""
    for name in (MODEL, "model.h5"):
        if folder is not None and (folder / name).is_file():
            return (folder / name).stat().st_size
    return None


def accuracy_bar(result: RunResult) -> dict[str, float] | None:
    """Return the accuracy and its interval in per cent, to draw."""
    interval = result.test.accuracy_interval
    if interval is None:
        return None
    low, high = (round(100 * end, 2) for end in interval)
    return {"low": low, "high": high, "value": round(100 * result.test.accuracy, 2)}


def tiles(result: RunResult) -> list[tuple[str, str, str]]:
    """Return the headline figures beside the accuracy: name, value, and what it means."""
    test = result.test
    rows = [(name, value, _MEANINGS[name]) for name, value in share_rows(test)]
    if test.calibration is not None:
        saved = test.calibration.saved
        chance = f"{percent(saved.error_by_chance)} by chance alone"
        rows.append(("Calibration error", percent(saved.expected_calibration_error), chance))
    rows.append(("Test loss", f"{test.loss:.4f}", "cross-entropy, nats"))
    parameters = _parameters(result)
    if parameters:
        trained = f"{result.phases[-1].phase.trainable_parameters:,} trained in the last phase"
        rows.append(("Parameters", f"{parameters:,}", trained))
    size = model_bytes(result.folder)
    if size is not None:
        rows.append(("Saved model", size_text(size), "pixels in, probabilities out"))
    if "total" in result.seconds:
        training = f"{duration(result.seconds.get('training', 0.0))} of it training"
        rows.append(("Total time", duration(result.seconds["total"]), training))
    return rows


def _parameters(result: RunResult) -> int:
    if not result.phases:
        return 0
    phase = result.phases[-1].phase
    return phase.trainable_parameters + phase.frozen_parameters


def setup(result: RunResult) -> list[dict[str, Any]]:
    """Return what was trained on what: name, description, and the options of a plugin."""
    info = result.info
    counts = (
        f"{info.num_train:,} train, {info.num_validation:,} {held_out(info)}, "
        f"{info.num_test:,} test; {plural(len(info.class_names), 'class')}"
    )
    rows = [_setup_row("Images", counts)]
    if info.class_counts:
        least, most = min(info.class_counts), max(info.class_counts)
        balance = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        rows.append(_setup_row("Training images", f"{balance} in each class"))
    if info.duplicates:
        leaks = [
            f"{info.duplicates[key]:,} {what}"
            for key, what in _LEAKS.items()
            if info.duplicates.get(key)
        ]
        rows.append(_setup_row("Leakage", "; ".join(leaks) or "none found"))
    for kind in ("dataset", "backbone", "head", "workflow", "engine", "features", "run"):
        table = info.config.get(kind, {})
        idle = info.idle_options.get(kind, ())
        options = [
            (text(key), text(_value(value)))
            for key, value in table.items()
            if key != "name" and key not in idle and value is not None
        ]
        if table:
            rows.append(_setup_row(kind.capitalize(), text(table.get("name", "")), options))
    if info.looks:
        rows.append(_setup_row("Test time", f"mean over {info.looks}"))
    if info.lineage is not None:
        rows += [_setup_row(key, text(value, 500)) for key, value in lineage_rows(info.lineage)]
        change = old_classes_text(info.lineage)
        rows += [_setup_row("Old classes", change)] if change else []
    return rows


def _setup_row(key: str, value: str, options: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    return {"key": key, "value": value, "options": options}


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_value(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value(item)}" for key, item in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def phase_row(item: PhaseResult) -> dict[str, Any]:
    """Return a phase with the figures of the weights that it ended with."""
    phase, figures, epochs = item.phase, item.figures(), item.num_epochs
    chosen = ", ".join(f"{key} = {value}" for key, value in item.chosen.items())

    def share(key: str) -> str:
        return percent(figures[key]) if key in figures else "-"

    return {
        "name": text(phase.name),
        "epochs": f"{epochs:,} of {phase.epochs:,}" if epochs < phase.epochs else f"{epochs:,}",
        "images": f"{phase.num_images:,}",
        "trainable": f"{phase.trainable_parameters:,}",
        "frozen": f"{phase.frozen_parameters:,}",
        "kept": "last" if item.kept_epoch is None else str(item.kept_epoch),
        "train": share("accuracy"),
        "validation": share("val_accuracy"),
        "seconds": duration(item.seconds),
        "chosen": text(chosen, 200) if phase.steps else text(chosen or "solved", 200),
    }


def thinned(phases: Sequence[PhaseResult]) -> list[PhaseResult]:
    """Return the phases; of very long ones every n-th epoch only, so that the page stays small."""
    total = sum(item.num_epochs for item in phases)
    step = math.ceil(total / MAX_EPOCHS)
    if step <= 1:
        return list(phases)
    found = []
    for item in phases:
        history = {key: list(values[step - 1 :: step]) for key, values in item.history.items()}
        kept = item.kept_epoch and max(1, item.kept_epoch // step)
        found.append(replace(item, history=history, kept_epoch=kept))
    return found


def epoch_rows(phases: Sequence[PhaseResult]) -> list[tuple[str, ...]]:
    """Return phase, epoch and the four figures of each epoch as text."""
    rows: list[tuple[str, ...]] = []
    for item in phases:
        for epoch in range(1, item.num_epochs + 1):
            figures = item.figures(epoch)
            cells = [f"{figures[key]:.4f}" if key in figures else "-" for key in _METRICS]
            rows.append((text(item.phase.name), str(len(rows) + 1), *cells))
    return rows


_METRICS = ("loss", "val_loss", "accuracy", "val_accuracy")


def class_rows(result: RunResult) -> list[dict[str, Any]]:
    """Return a row for each class; of very many those with the lowest F1."""
    import numpy as np

    info, matrix = result.info, result.test.confusion_matrix
    wrong = matrix - np.diag(np.diag(matrix))
    limit = name_limit(len(info.class_names))
    rows: list[dict[str, Any]] = []
    for index, item in enumerate(result.test.classes):
        other = int(wrong[index].argmax())
        count = int(wrong[index, other])
        rows.append(
            {
                "name": text(item.name, limit),
                "precision": item.precision,
                "recall": item.recall,
                "f1": item.f1,
                "support": item.support,
                "train": info.class_counts[index] if info.class_counts else None,
                "other_name": text(info.class_names[other], limit),
                "count": count,
            }
        )
    if len(rows) > MAX_CLASS_ROWS:
        rows = sorted(rows, key=lambda row: row["f1"])[:MAX_CLASS_ROWS]
    return rows


def name_limit(num_classes: int) -> int:
    """Return how long class names may be: shorter where there are very many."""
    return 60 if num_classes <= 1000 else 24


def average_row(item: Any) -> dict[str, Any]:
    """Return the figures of an average over the classes."""
    return {
        "name": {"macro avg": "Mean of the classes", "weighted avg": "Weighted by images"}.get(
            item.name, text(item.name)
        ),
        "precision": item.precision,
        "recall": item.recall,
        "f1": item.f1,
        "support": item.support,
    }


def confusions(result: RunResult) -> list[dict[str, Any]]:
    """Return the most frequent confusions."""
    names, matrix = result.info.class_names, result.test.confusion_matrix
    limit = name_limit(len(names))
    return [
        {
            "true": true,
            "predicted": predicted,
            "true_name": text(names[true], limit),
            "predicted_name": text(names[predicted], limit),
            "count": count,
            "share": percent(count / matrix[true].sum()),
        }
        for true, predicted, count in result.test.confusions(MAX_CONFUSIONS)
    ]


def calibration_rows(result: RunResult) -> list[tuple[str, str]]:
    """Return what the calibration says, in words."""
    found = result.test.calibration
    if found is None:
        return []
    saved = found.saved
    rows = [
        ("Expected calibration error", percent(saved.expected_calibration_error)),
        (
            "By chance alone",
            f"{percent(saved.error_by_chance)}: about what it would be if every confidence were "
            f"true",
        ),
    ]
    if found.calibrated is None:
        return [*rows, ("Temperature", text(f"none: {found.reason}", 300))]
    other = found.uncalibrated if found.applied else found.calibrated
    label = "Without the temperature" if found.applied else "With the temperature"
    state = "part of the saved model" if found.applied else "not part of the saved model"
    return [
        *rows,
        ("Temperature", f"{found.temperature:.3f}, fitted on the validation images; {state}"),
        (label, percent(other.expected_calibration_error)),
    ]


def reliability_rows(result: RunResult) -> list[tuple[str, ...]]:
    """Return the bins of the saved model as text."""
    if result.test.calibration is None:
        return []
    return [
        (
            f"{100 * item.lower:.1f} to {100 * item.upper:.1f}",
            f"{100 * item.confidence:.1f}",
            f"{100 * item.accuracy:.1f}",
            f"{item.count:,}",
        )
        for item in result.test.calibration.saved.bins
    ]


def time_parts(seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the parts of the total in the order of the run, with what is left over."""
    total = seconds.get("total", 0.0)
    order = [*(key for key in _PARTS if key in seconds), *sorted(set(seconds) - set(_PARTS))]
    parts = [(key, seconds[key]) for key in order if key != "total"]
    rest = total - sum(value for _, value in parts)
    if total and rest > 0.005 * total:
        parts.append(("Other", rest))
    return [
        {
            "part": _PARTS.get(key, text(key, 30)),
            "duration": duration(value),
            "share": value / total if total else 0.0,
        }
        for key, value in parts
    ]


def extraction_rows(result: RunResult) -> list[tuple[str, ...]]:
    """Return where the time of each extraction went."""
    rows: list[tuple[str, ...]] = []
    for item in result.extractions:
        total = sum(item.stage_seconds.values()) or 1.0
        stages = ", ".join(
            f"{text(stage, 30)} {100 * value / total:.0f} %"
            for stage, value in item.stage_seconds.items()
        )
        rows.append(
            (
                text(item.split),
                f"{item.num_images:,}",
                text(item.engine),
                str(item.batch_size),
                duration(item.seconds),
                rate(item.num_images / item.seconds if item.seconds else None),
                stages,
            )
        )
    return rows


def engine_rows(result: RunResult) -> list[tuple[str, ...]]:
    """Return how each engine compared with TensorFlow."""
    rows: list[tuple[str, ...]] = []
    for item in result.engine_trials:
        ratio = item.images_per_second / max(item.reference_images_per_second, 1e-9)
        outcome = "same features" if item.accepted else f"refused: {item.reason}"
        rows.append(
            (
                text(f"{item.engine} {item.version}".strip()),
                text(item.precision),
                f"{ratio:.2f} x" if item.images_per_second else "-",
                f"{item.relative_error:.1e}",
                text(outcome, 300),
            )
        )
    return rows


def command(result: RunResult) -> str:
    """Return the command that runs the config again."""
    path = CONFIG if result.folder is None else str(result.folder / CONFIG)
    return f"tlkit run {shlex.quote(text(path, LONG_TEXT_LIMIT))}"


def install_command(environment: Mapping[str, str]) -> str:
    """Return the command that installs the versions that the run was made with."""
    pins = [f"{key}=={value}" for key, value in environment.items() if key not in _MACHINE]
    return f"pip install {' '.join(shlex.quote(text(pin)) for pin in pins)}" if pins else ""


def config_lines(info: RunInfo) -> str:
    """Return the resolved config as TOML, what changes nothing in this run marked as such.

    Its line ends stay, other control characters do not.
    """
    lines, kind = [], ""
    for line in config_text(info.config).splitlines():
        if line.startswith("["):
            kind = line.strip("[]")
        idle = line.partition(" = ")[0] in info.idle_options.get(kind, ())
        shown = text(line.replace("\t", "    "), LONG_TEXT_LIMIT)
        lines.append(f"{shown}  # changes nothing in this run" if idle else shown)
    return "\n".join(lines)


def _strings(value: object) -> Iterable[str]:
    """Yield ``<`` for each value that a config file can only describe."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, str):
        if re.fullmatch(r"<[\w.]+( .*)?>", value):
            yield "<"
    elif value is not None and not isinstance(value, bool | int | float | Path):
        yield "<"
