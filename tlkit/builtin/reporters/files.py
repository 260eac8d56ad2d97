"""The files reporter: figures for programs and spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from tlkit import Reporter, RunResult, atomic_write_text, printable

SCHEMA_VERSION = 1
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class FilesReporter(Reporter):
    """Writes metrics, history, predictions and the confusion matrix as JSON and CSV."""

    name: ClassVar[str] = "files"

    def on_run_end(self, result: RunResult, **kwargs: Any) -> None:
        """Write the files into the run folder."""
        if result.folder is None:
            return
        names = kwargs.get("test_names", ())
        tables = {
            "history.csv": history_rows(result),
            "classification_report.csv": report_rows(result),
            "confusion_matrix.csv": confusion_rows(result),
            "predictions.csv": prediction_rows(result, names),
        }
        for file_name, rows in tables.items():
            _write_csv(result.folder / file_name, rows)
        metrics = json.dumps(metrics_record(result), indent=2)
        atomic_write_text(result.folder / "metrics.json", metrics + "\n")
        atomic_write_text(result.folder / "classification_report.txt", report_text(result))


def metrics_record(result: RunResult) -> dict[str, Any]:
    """Return the figures of ``metrics.json``; accuracies 0 to 1, losses in nats."""
    return {
        "schema_version": SCHEMA_VERSION,
        "test_accuracy": result.test.accuracy,
        "test_loss": result.test.loss,
        "classes": [asdict(item) for item in result.test.classes],
        "averages": [asdict(item) for item in result.test.averages],
        "phases": [
            {
                **asdict(item.phase),
                "seconds": item.seconds,
                "final": {key: values[-1] for key, values in item.history.items() if values},
            }
            for item in result.phases
        ],
        "seconds": dict(result.seconds),
    }


def history_rows(result: RunResult) -> Iterable[Sequence[Any]]:
    """Yield a header and a row for each epoch, counted on through the phases."""
    keys = ("loss", "accuracy", "val_loss", "val_accuracy")
    yield ("phase", "epoch", *keys)
    epoch = 0
    for item in result.phases:
        for index in range(max((len(values) for values in item.history.values()), default=0)):
            epoch += 1
            figures = (item.history.get(key, []) for key in keys)
            row = (values[index] if index < len(values) else "" for values in figures)
            yield (item.phase.name, epoch, *row)


def report_rows(result: RunResult) -> Iterable[Sequence[Any]]:
    """Yield a header and a row for each class and average."""
    yield ("class", "precision", "recall", "f1", "support")
    for item in (*result.test.classes, *result.test.averages):
        yield (item.name, item.precision, item.recall, item.f1, item.support)


def confusion_rows(result: RunResult) -> Iterable[Sequence[Any]]:
    """Yield the confusion matrix: a row for each true class, a column for each predicted one."""
    names = result.info.class_names
    yield ("true \\ predicted", *names)
    for name, row in zip(names, result.test.confusion_matrix.tolist(), strict=True):
        yield (name, *row)


def prediction_rows(result: RunResult, names: Sequence[str]) -> Iterable[Sequence[Any]]:
    """Yield a header and a row for each test image."""
    test, classes = result.test, result.info.class_names
    yield ("index", "image", "true", "predicted", "confidence")
    confidences = test.probabilities.max(axis=1).tolist()
    answers = zip(test.labels.tolist(), test.predictions.tolist(), confidences, strict=True)
    for index, (true, predicted, confidence) in enumerate(answers):
        name = names[index] if index < len(names) else ""
        yield (index, name, classes[true], classes[predicted], round(confidence, 6))


def report_text(result: RunResult) -> str:
    """Return the classification report in the layout that scikit-learn prints."""
    test = result.test
    shown = [printable(item.name, 40) for item in (*test.classes, *test.averages)]
    width = max(len(name) for name in (*shown, "accuracy"))
    lines = [f"{'':>{width}}  precision    recall  f1-score   support", ""]
    for name, item in zip(shown, (*test.classes, *test.averages), strict=True):
        if item is test.averages[0]:
            lines += ["", f"{'accuracy':>{width}}{test.accuracy:>32.4f}{item.support:>10}"]
        figures = f"{item.precision:>11.4f}{item.recall:>10.4f}{item.f1:>10.4f}{item.support:>10}"
        lines.append(f"{name:>{width}}{figures}")
    return "\n".join(lines) + "\n"


def _write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([_cell(value) for value in row] for row in rows)
    atomic_write_text(path, buffer.getvalue())


def _cell(value: Any) -> Any:
    """Keep text from becoming a formula in a spreadsheet (OWASP, CSV injection)."""
    if not isinstance(value, str):
        return value
    safe = printable(value)
    return f"'{safe}" if value.startswith(_FORMULA_STARTS) else safe
