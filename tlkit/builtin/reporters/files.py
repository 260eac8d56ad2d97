"""FilesReporter: the figures of a run as JSON, CSV and text."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tlkit import (
    Duplicate,
    Evaluation,
    PictureNote,
    Reporter,
    RunInfo,
    RunResult,
    atomic_path,
    atomic_write_text,
    printable,
    safe_cell,
)
from tlkit.builtin.reporters.figures import figure_rows
from tlkit.builtin.reporters.history import METRICS, epoch_rows
from tlkit.wording import accuracy_text

SCHEMA_VERSION = 1
_NAME_LIMIT = 40


class FilesReporter(Reporter):
    """Write the figures of a run into its folder as JSON, CSV and text."""

    name: ClassVar[str] = "files"

    def on_run_begin(self, run: RunInfo, **kwargs: Any) -> None:
        """Write the lists of unusual pictures and of duplicates, where there are any.

        Args:
            run: The run that begins; without a folder nothing is written.
            kwargs: ``pictures`` and ``duplicates``; see ``Reporter.on_run_begin``.
        """
        pictures, duplicates = kwargs.get("pictures", ()), kwargs.get("duplicates", ())
        if run.folder is None:
            return
        if pictures:
            write_csv(run.folder / "pictures.csv", _pictures(pictures))
        if duplicates:
            write_csv(run.folder / "leakage.csv", _leakage(duplicates, run.class_names))

    def on_run_end(self, result: RunResult, **kwargs: Any) -> None:
        """Write the files.

        Args:
            result: The finished run; without a folder nothing is written.
            kwargs: ``test_names``: one name for each test image, or empty.
        """
        folder = result.folder
        if folder is None:
            return
        atomic_write_text(
            folder / "metrics.json", json.dumps(metrics(result), indent=2, allow_nan=False) + "\n"
        )
        text = f"{report_text(result.test)}\n{figures_text(result.test)}"
        atomic_write_text(folder / "classification_report.txt", text)
        write_csv(folder / "history.csv", _history(result))
        write_csv(folder / "classification_report.csv", _report(result.test))
        write_csv(folder / "confusion_matrix.csv", _confusion(result))
        names = tuple(kwargs.get("test_names", ()))
        write_csv(folder / "predictions.csv", _predictions(result, names))


def metrics(result: RunResult) -> dict[str, Any]:
    """Return the figures as plain JSON values; what is not a number becomes None."""
    test = result.test
    phases = [
        {
            "name": item.phase.name,
            "epochs": item.phase.epochs,
            "images": item.phase.num_images,
            "trainable_parameters": item.phase.trainable_parameters,
            "frozen_parameters": item.phase.frozen_parameters,
            "seconds": item.seconds,
            "last_epoch": item.figures(item.num_epochs),
            # Of the weights that the phase ended with: early stopping puts the best ones back.
            "kept_epoch": {"epoch": item.kept_epoch or item.num_epochs, **item.figures()},
        }
        for item in result.phases
    ]
    figures = {
        "schema_version": SCHEMA_VERSION,
        "run": result.info.name,
        "train": _train(result.info),
        "lineage": result.info.lineage and dataclasses.asdict(result.info.lineage),
        "test": {
            "images": len(test.labels),
            "accuracy": test.accuracy,
            "accuracy_interval": test.accuracy_interval,
            "balanced_accuracy": test.balanced_accuracy,
            "macro_f1": test.macro_f1,
            "top_5": test.top_5,
            "loss": test.loss,
            "calibration": test.calibration and dataclasses.asdict(test.calibration),
            "classes": [vars(item) for item in test.classes],
            "averages": [vars(item) for item in test.averages],
        },
        "phases": phases,
        "seconds": dict(result.seconds),
        "feature_cache": dict(result.feature_cache),
        "notes": list(result.info.notes),
        "warnings": list(result.warnings),
    }
    plain: dict[str, Any] = _without_nan(figures)
    return plain


def _train(info: RunInfo) -> dict[str, Any]:
    counts = zip(info.class_names, info.class_counts, strict=bool(info.class_counts))
    return {
        "images": info.num_train,
        "classes": [{"name": name, "images": images} for name, images in counts],
        "imbalance": info.imbalance,
        "duplicates": dict(info.duplicates),
    }


def report_text(test: Evaluation) -> str:
    """Return the classification report in scikit-learn's layout."""
    names = [printable(item.name, _NAME_LIMIT) for item in (*test.classes, *test.averages)]
    width = max(len(name) for name in (*names, "weighted avg"))
    head = ("precision", "recall", "f1-score", "support")
    lines = [" " * width + " " + "".join(f" {title:>9}" for title in head), ""]
    for index, (name, item) in enumerate(zip(names, (*test.classes, *test.averages), strict=True)):
        if index == len(test.classes):
            accuracy = f"{test.accuracy:>9.2f} {len(test.labels):>9}"
            lines += ["", f"{'accuracy':>{width}}  {'':>9} {'':>9} {accuracy}"]
        lines.append(
            f"{name:>{width}}  {item.precision:>9.2f} {item.recall:>9.2f} {item.f1:>9.2f} "
            f"{item.support:>9}"
        )
    return "\n".join(lines) + "\n"


def figures_text(test: Evaluation) -> str:
    """Return the accuracy's interval and the figures that scikit-learn's report leaves out."""
    rows = [("Accuracy", accuracy_text(test)), *figure_rows(test)]
    return "".join(f"{name + ':':<19} {value}\n" for name, value in rows)


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows as CSV (RFC 4180), text guarded by ``safe_cell``."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file)
        for row in rows:
            writer.writerow([safe_cell(cell) if isinstance(cell, str) else cell for cell in row])


def _pictures(pictures: Sequence[PictureNote]) -> Iterable[Sequence[object]]:
    yield ("name", "kind", "what was done")
    for note in pictures:
        reasons = [f"left out: {text}" for text in note.done]
        done = reasons if "broken" in note.kinds else note.done
        yield (note.name, "; ".join(note.kinds), "; ".join(done))


def _leakage(duplicates: Sequence[Duplicate], classes: Sequence[str]) -> Iterable[Sequence[object]]:
    yield (
        *("split", "index", "name", "class", "training index", "training name"),
        # Of a pair of validation and test the columns about training tell of the test image.
        *("training class", "copies in training", "label conflict", "equals"),
    )
    for item in duplicates:
        yield (
            *(item.split, item.index, item.name, classes[item.label]),
            *(item.train_index, item.train_name, classes[item.train_label]),
            *(item.copies, "yes" if item.label_conflict else "no", item.equals),
        )


def _history(result: RunResult) -> Iterable[Sequence[object]]:
    yield ("phase", "epoch", *METRICS)
    for row in epoch_rows(result.phases):
        yield (row.phase, row.epoch, *(row.metrics.get(key) for key in METRICS))


def _report(test: Evaluation) -> Iterable[Sequence[object]]:
    yield ("class", "precision", "recall", "f1", "support")
    for item in (*test.classes, *test.averages):
        yield (item.name, item.precision, item.recall, item.f1, item.support)


def _confusion(result: RunResult) -> Iterable[Sequence[object]]:
    names = result.info.class_names
    yield ("true \\ predicted", *names)
    for name, counts in zip(names, result.test.confusion_matrix.tolist(), strict=True):
        yield (name, *counts)


def _predictions(result: RunResult, names: Sequence[str]) -> Iterable[Sequence[object]]:
    classes, test = result.info.class_names, result.test
    predictions = test.predictions.tolist()
    confidences = test.probabilities.max(axis=1).tolist()
    if len(names) != len(predictions):
        names = [""] * len(predictions)
    yield ("index", "name", "true", "predicted", "confidence")
    answers = zip(names, test.labels.tolist(), predictions, confidences, strict=True)
    for index, (name, label, prediction, confidence) in enumerate(answers):
        yield (index, name, classes[label], classes[prediction], f"{confidence:.6f}")


def _without_nan(value: Any) -> Any:
    """Return plain values; JSON has no way to write NaN and infinity."""
    import numpy as np

    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
