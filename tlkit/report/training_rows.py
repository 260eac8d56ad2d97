"""What was trained on what: the setup, the phases and the epochs, as rows of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tlkit.records import PhaseResult, RunInfo, RunResult
from tlkit.report.words import duration, held_out, text
from tlkit.wording import lineage_rows, old_classes_text, percent, plural

MAX_EPOCHS = 600
_LEAKS = {
    "test": "test images are also training images",
    "validation": "validation images are also training images",
    "validation_in_test": "validation images are also test images",
    "label_conflicts": "images have two labels",
}


def subtitle(info: RunInfo) -> str:
    """Return the plugins and the size of the run in a line."""
    names = {
        kind: text(info.config.get(kind, {}).get("name", "?"))
        for kind in ("backbone", "head", "dataset")
    }
    return f"{names['backbone']} with {names['head']} on {names['dataset']}"


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
