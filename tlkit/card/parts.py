"""Parts that both cards have: figures, the classification report, pictures, the environment."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from tlkit.card.facts import Facts
from tlkit.card.markdown import code, escape, table
from tlkit.wording import accuracy_text, date, percent, plural, share_rows

PLOTS = "plots"
_PICTURES = {
    "curves.png": "Loss and accuracy by epoch",
    "confusion_matrix.png": "Confusion matrix on the test images",
    "reliability.png": "Accuracy against confidence on the test images",
}
# Longer tables are folded away.
_MOST_CLASSES, _MOST_EPOCHS = 40, 25


def pictures(facts: Facts, beside: Path) -> list[str]:
    """Return links to the run's pictures, relative to the file that they stand in.

    Args:
        facts: The run.
        beside: The folder of that file.
    """
    folder = facts.result.folder
    assert folder is not None
    lines = []
    for name, caption in _PICTURES.items():
        path = folder / PLOTS / name
        if path.is_file():
            lines += [f"![{caption}]({link(path, beside)})", ""]
    return lines


def link(path: Path, beside: Path) -> str:
    """Return a relative link from a folder to a path, as a Markdown destination."""
    try:
        found = Path(os.path.relpath(path.resolve(), beside.resolve()))
    except ValueError:  # another drive
        found = path.resolve()
    return urllib.parse.quote(found.as_posix(), safe="/:")


def figures(facts: Facts) -> list[str]:
    """Return the table of test figures."""
    test = facts.result.test
    rows = [
        ("Test images", f"{len(test.labels):,}"),
        ("Accuracy", accuracy_text(test)),
        *share_rows(test),
        ("Cross-entropy", f"{test.loss:.4f} nats"),
    ]
    if test.calibration is not None:
        saved = test.calibration.saved
        rows.append(("Expected calibration error", percent(saved.expected_calibration_error)))
    return table(("Figure", "Value"), rows)


def classification_report(facts: Facts) -> list[str]:
    """Return precision, recall and F1 of each class and of the averages."""
    test = facts.result.test
    rows = [
        (
            escape(item.name),
            *(f"{value:.3f}" for value in (item.precision, item.recall, item.f1)),
            f"{item.support:,}",
        )
        for item in (*test.classes, *test.averages)
    ]
    found = table(("Class", "Precision", "Recall", "F1", "Test images"), rows)
    if len(test.classes) <= _MOST_CLASSES:
        return found
    return [
        f"<details><summary>All {len(test.classes)} classes</summary>",
        "",
        *found,
        "</details>",
        "",
    ]


def epochs(facts: Facts) -> list[str]:
    """Return the table of epochs, each phase's one after another, thinned where it is long."""
    header = ("Phase", "Epoch", "Loss", "Accuracy", "Validation loss", "Validation accuracy")
    rows = list(_epoch_rows(facts))
    kept = rows
    step = -(-len(rows) // _MOST_EPOCHS)
    if step > 1:
        kept = [row for index, row in enumerate(rows) if index % step == 0 or row is rows[-1]]
    lines = table(header, kept) if rows else []
    if len(kept) < len(rows):
        lines += [f"One epoch in {step} is shown; {code('run.json')} has all {len(rows)}.", ""]
    for item in facts.result.phases:
        if item.kept_epoch is not None and item.phase.epochs > 1:
            lines += [
                f"Of the phase {escape(item.phase.name)} the weights of epoch {item.kept_epoch} "
                f"were kept.",
                "",
            ]
    return lines


def _epoch_rows(facts: Facts) -> Iterator[tuple[str, ...]]:
    for item in facts.result.phases:
        solved = item.phase.steps == 0
        for epoch in range(1, item.num_epochs + 1):
            figures = item.figures(epoch)
            cells = (
                "-"
                if key not in figures
                else percent(figures[key])
                if key.endswith("accuracy")
                else f"{figures[key]:.4f}"
                for key in ("loss", "accuracy", "val_loss", "val_accuracy")
            )
            yield (escape(item.phase.name), "solved" if solved else str(epoch), *cells)


def phases(facts: Facts) -> list[str]:
    """Return the table of phases."""
    rows = [
        (
            escape(item.phase.name),
            "solved" if item.phase.steps == 0 else item.num_epochs,
            f"{item.phase.num_images:,}",
            f"{item.phase.trainable_parameters:,}",
            f"{item.phase.frozen_parameters:,}",
            f"{item.seconds:.1f}",
        )
        for item in facts.result.phases
    ]
    return table(("Phase", "Epochs", "Images", "Parameters trained", "Held still", "Seconds"), rows)


def environment(facts: Facts) -> list[str]:
    """Return when the run began, the versions and the machine."""
    began = date(facts.result.info.began)
    rows = [("Began", code(began))] if began else []
    rows += [(escape(key), code(str(value))) for key, value in facts.result.environment.items()]
    total = facts.result.seconds.get("total")
    if total is not None:
        rows.append(("Seconds of the run", f"{total:.1f}"))
    return table(("What", "Value"), rows, ("l", "l"))


def images(facts: Facts) -> str:
    """Say how many images of which data set there were."""
    info = facts.result.info
    text = (
        f"{escape(facts.dataset)}: {plural(info.num_train, 'training image')}, "
        f"{info.num_validation:,} to validate on and {info.num_test:,} to test on."
    )
    if info.validates_on_test:
        text = (
            f"{escape(facts.dataset)}: {plural(info.num_train, 'training image')}, and "
            f"{info.num_test:,} to test on, which were the validation images as well."
        )
    return f"{text} {facts.local_data}".rstrip()
