"""What a notebook shows of a run: one piece of HTML without scripts, for light and dark themes."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from tlkit.text import printable
from tlkit.wording import percent, share_rows

if TYPE_CHECKING:
    from tlkit.records import ClassReport, Evaluation, PhaseResult, RunResult

MAX_CLASSES = 20
MAX_CONFUSIONS = 10
MAX_LINES = 5
_NAME_LIMIT, _LINE_LIMIT = 24, 300
# Colours over whatever the page's own background is, never so strong that its text stops being
# readable. Okabe and Ito's blue and vermilion, which the colour-blind tell apart.
_RIGHT, _WRONG, _STRONGEST = "0,114,178", "213,94,0", 0.6
_BORDER = "1px solid rgba(128,128,128,0.35)"
_QUIET = "opacity:0.75"
# Tables and inline styles only: notebooks that are not trusted lose SVG and style sheets.
_NUMBER = "text-align:right;padding:2px 8px"
_WORD = "text-align:left;padding:2px 8px"


def result_html(result: RunResult) -> str:
    """Return a result as a piece of HTML; all text from outside is escaped.

    It shows the test accuracy with its interval, each phase, each class (at most 20), the
    confusion matrix (for more than 20 classes the most frequent confusions), notes and the folder.
    """
    test = result.test
    parts = [
        *_headline(result),
        _title("Training"),
        _phases(result.phases, result.info.validates_on_test),
        '<div style="display:flex;flex-wrap:wrap;gap:8px 32px;align-items:flex-start">',
        f"<div>{_title('Classes')}{_classes(test)}</div>",
        f"<div>{_confusions(test, result.info.class_names)}</div>",
        "</div>",
        _lines("Notes", result.info.notes),
        _lines("Warnings", result.warnings),
    ]
    if result.folder is not None:
        parts.append(
            f'<div style="margin-top:8px"><code>{_text(str(result.folder), 500)}</code></div>'
        )
    return f'<div style="max-width:1000px;overflow-x:auto">{"".join(parts)}</div>'


def _headline(result: RunResult) -> Iterator[str]:
    test, info = result.test, result.info
    yield f'<div style="{_QUIET}">{_text(info.name)}</div>'
    interval = ""
    if test.accuracy_interval is not None:
        low, high = (f"{100 * end:.1f}" for end in test.accuracy_interval)
        interval = f"95 % interval {low} to {high}; "
    yield (
        f'<div><span style="font-size:1.8em;font-weight:600">{percent(test.accuracy)}</span> '
        f"test accuracy ({interval}{len(test.labels):,} images)</div>"
    )
    known = [f"{name[0].lower()}{name[1:]} {value}" for name, value in share_rows(test)]
    if test.calibration is not None:
        error = test.calibration.saved.expected_calibration_error
        known.append(f"calibration error {percent(error)}")
    yield f'<div style="{_QUIET}">{", ".join([*known, f"loss {test.loss:.3f}"])}</div>'


def _phases(phases: Sequence[PhaseResult], validates_on_test: bool) -> str:
    held_out = "test set as validation" if validates_on_test else "validation"
    head = ("phase", "epoch", "loss", "accuracy", f"{held_out} loss", f"{held_out} accuracy")
    rows = []
    for item in phases:
        epochs, figures = item.num_epochs, item.figures()
        epoch = item.kept_epoch or epochs
        which = f"{epoch} of {epochs}" if epoch != epochs else f"{epochs}"
        cells = [f"<bdi>{_text(item.phase.name)}</bdi>", which]
        for key in ("loss", "accuracy", "val_loss", "val_accuracy"):
            value = figures.get(key)
            shown = "-" if value is None else f"{value:.4f}"
            cells.append(percent(value) if value is not None and "accuracy" in key else shown)
        rows.append([*cells, f"{item.seconds:.1f}"])
    return _table((*head, "seconds"), rows)


def _classes(test: Evaluation) -> str:
    def row(item: ClassReport) -> list[str]:
        shares = (percent(share) for share in (item.precision, item.recall, item.f1))
        return [f"<bdi>{_text(item.name)}</bdi>", *shares, f"{item.support:,}"]

    count = len(test.classes)
    rows = [row(item) for item in test.classes[:MAX_CLASSES]]
    if count > MAX_CLASSES:
        note = f"the first {MAX_CLASSES} of {count:,} classes; all are in result.test.classes"
        rows.append([f'<span style="{_QUIET}">{note}</span>'])
    rows += [row(item) for item in test.averages]
    return _table(("class", "precision", "recall", "F1", "images"), rows)


def _confusions(test: Evaluation, names: Sequence[str]) -> str:
    if len(names) > MAX_CLASSES:
        return _title("Most frequent confusions") + _most_frequent(test, names)
    sides = "rows: true class, columns: answer"
    return _title(f"Confusion matrix ({sides})") + _matrix(test, names)


def _matrix(test: Evaluation, names: Sequence[str]) -> str:
    vertical = f"{_NUMBER};writing-mode:vertical-rl;font-weight:normal"
    head = "".join(f'<th style="{vertical}"><bdi>{_text(name)}</bdi></th>' for name in names)
    rows = []
    for index, (name, counts) in enumerate(zip(names, test.confusion_matrix.tolist(), strict=True)):
        total = max(sum(counts), 1)
        cells = "".join(
            _matrix_cell(count, count / total, index == column)
            for column, count in enumerate(counts)
        )
        rows.append(
            f'<tr><th style="{_WORD};font-weight:normal"><bdi>{_text(name)}</bdi></th>{cells}</tr>'
        )
    return (
        f'<table style="border-collapse:collapse"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _matrix_cell(count: int, share: float, right: bool) -> str:
    # The root keeps small shares of mistakes, which are the point of the matrix, visible.
    colour = f"rgba({_RIGHT if right else _WRONG},{_STRONGEST * share**0.5:.2f})"
    style = f"text-align:right;padding:2px 6px;background-color:{colour};border:{_BORDER}"
    shown = f"{count:,}" if count else '<span style="opacity:0.65">0</span>'
    return f'<td style="{style}">{shown}</td>'


def _most_frequent(test: Evaluation, names: Sequence[str]) -> str:
    rows = [
        [f"<bdi>{_text(names[true])}</bdi>", f"<bdi>{_text(names[answer])}</bdi>", f"{count:,}"]
        for true, answer, count in test.confusions(MAX_CONFUSIONS)
    ]
    return _table(("true class", "answer", "images"), rows, words=2)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """Return a table of cells that are HTML; a row of one cell spans all columns."""

    def cells(row: Sequence[str], tag: str) -> str:
        span = f' colspan="{len(head)}"' if len(row) == 1 else ""
        return "".join(
            f'<{tag}{span} style="{_WORD if place < words else _NUMBER};border-bottom:{_BORDER}">'
            f"{cell}</{tag}>"
            for place, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return (
        f'<table style="border-collapse:collapse"><thead><tr>{cells(head, "th")}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _title(text: str) -> str:
    return f'<div style="margin:10px 0 4px;font-weight:600">{text}</div>'


def _lines(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    shown = [f"<li>{_text(line, _LINE_LIMIT)}</li>" for line in lines[:MAX_LINES]]
    if len(lines) > MAX_LINES:
        shown.append(f"<li>and {len(lines) - MAX_LINES:,} more</li>")
    return f'{_title(title)}<ul style="margin:0;padding-left:20px">{"".join(shown)}</ul>'


def _text(text: str, limit: int = _NAME_LIMIT) -> str:
    return html.escape(printable(text, limit))
