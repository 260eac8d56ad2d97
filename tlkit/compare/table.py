"""Table: a comparison in the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich import box
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from tlkit.compare.records import Comparison, PairedTest
from tlkit.compare.summary import Row, summarise
from tlkit.run_folder import CONFIG
from tlkit.text import printable
from tlkit.wording import plural

WIDE, BROAD = 115, 150
_NAMES = ("Run", "Backbone", "Head")
_OF_WIDE = ("Validation\n(%)", "Total\n(s)", "Images/s")
# What a narrow console goes without, the first of them first.
_SPARE = ("Saved\n(MB)", "Params\n(M)", "Training\n(s)", "Features\n(s)", "Backbone")
# The time that the name of a run folder begins with stands on a line of its own.
_TIME = re.compile(r"^(\d{8}-\d{6})-")


def show(comparison: Comparison, console: Console) -> None:
    """Print the table, what failed, and the tests of pairs.

    Below 115 columns the table leaves out what ``comparison.csv`` has: validation accuracy, total
    seconds and images per second; where the others do not fit either, some of these.
    """
    rows = summarise(comparison.cells)
    console.print(_table(rows, console.width))
    console.print()
    for line in _lines(comparison, rows):
        console.print(Text(printable(line)), soft_wrap=not console.is_terminal)


def sentence(test: PairedTest, pairs: int = 1) -> str:
    """Return what a test found as a plain sentence; ``pairs`` is how many were tested."""
    corrected = ""
    if pairs > 1:
        corrected = f" ({_p(test.adjusted_p_value)} after Holm's correction for {pairs} pairs)"
    verdict = (
        "larger than chance at 5 %" if test.larger_than_chance else "no larger than chance at 5 %"
    )
    low, high = (100 * limit for limit in test.interval)
    return (
        f"{test.first} is right on {plural(test.only_first, 'image')} that {test.second} gets "
        f"wrong, {test.second} on {test.only_second:,} that {test.first} gets wrong: "
        f"{_p(test.p_value)}{corrected}: {verdict}. Difference {100 * test.difference:+.1f} "
        f"points (95 %: {low:+.1f} to {high:+.1f})."
    )


def _lines(comparison: Comparison, rows: tuple[Row, ...]) -> Iterator[str]:
    if any(row.interval is not None for row in rows):
        yield "In brackets: 95 % confidence interval of the accuracy."
    if any(row.deviation is not None for row in rows):
        yield "±: standard deviation over the seeds."
    if any(row.features_stored and row.features_seconds is not None for row in rows):
        yield "* Features were stored already: seconds of the extraction that made them."
    if any(row.features_stored and row.features_seconds is None for row in rows):
        yield "*? Features were stored already; how long they took is not known."
    if any(_has_unknown_parts(row) for row in rows):
        yield "? Some features were stored already; how long these took is not known."
    for cell in comparison.failed:
        yield f"Failed: {cell.title}: {cell.error}"
        if cell.folder is not None:
            yield f"  The whole error: tlkit run {cell.folder / CONFIG}"
    for key, values in comparison.differences:
        yield f"{key}: {' | '.join(values)}"
    yield from comparison.notes
    for test in comparison.pairs:
        yield sentence(test, len(comparison.pairs))
    if comparison.pairs:
        yield (
            "McNemar's exact test tells of these trained models on these test images, not of what "
            "another training seed would give: compare several seeds for that (Dietterich 1998)."
        )


def _table(rows: tuple[Row, ...], width: int) -> Table:
    several = any(len(row.seeds) > 1 for row in rows)
    few = len({row.few_shot for row in rows}) > 1
    columns: dict[str, list[str]] = {
        "Run": [printable(row.name) for row in rows],
        "Backbone": [printable(row.backbone) for row in rows],
        "Head": [printable(row.head) for row in rows],
        "Images\nper class": [f"{row.few_shot:,}" if row.few_shot else "all" for row in rows],
        "Test accuracy\n(%)": [_accuracy(row) for row in rows],
        "Validation\n(%)": [_number(row.validation_accuracy, 1, 100) for row in rows],
        "Features\n(s)": [_features(row) for row in rows],
        "Training\n(s)": [_number(row.training_seconds, 1) for row in rows],
        "Total\n(s)": [_number(row.total_seconds, 1) for row in rows],
        "Images/s": [_number(row.images_per_second, 0) for row in rows],
        "Params\n(M)": [_number(row.parameters, 2, 1e-6) for row in rows],
        "Saved\n(MB)": [_number(row.model_bytes, 1, 1e-6) for row in rows],
        "Seeds": [str(len(row.seeds)) for row in rows],
    }
    for name, shown in (
        ("Run", any(row.name for row in rows)),
        ("Images\nper class", few),
        ("Seeds", several),
        *((name, width >= WIDE) for name in _OF_WIDE),
    ):
        if not shown:
            del columns[name]
    if "Run" in columns and width < BROAD:
        columns["Run"] = [_TIME.sub(r"\1-\n", name) for name in columns["Run"]]
    for name in _SPARE:
        if sum(_least_cells(item, cells) + 1 for item, cells in columns.items()) + 1 > width:
            columns.pop(name, None)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    for name in columns:
        justify: JustifyMethod = "left" if name in _NAMES else "right"
        table.add_column(name, overflow="fold", no_wrap=name == "Run", justify=justify)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, cells))
    return table


def _least_cells(name: str, cells: list[str]) -> int:
    return max(cell_len(part) for text in (name, *cells) for part in text.split() or [""])


def _accuracy(row: Row) -> str:
    if row.accuracy is None:
        return "failed"
    text = f"{100 * row.accuracy:.1f}"
    if row.deviation is not None:
        return f"{text} ± {100 * row.deviation:.1f}"
    if row.interval is not None:
        low, high = row.interval
        return f"{text} ({100 * low:.1f}-{100 * high:.1f})"
    return text


def _features(row: Row) -> str:
    if row.features_seconds is None and row.features_stored:
        return "*?"
    if row.features_seconds is None:
        return "?" if _has_unknown_parts(row) else "-"
    return f"{row.features_seconds:.1f}{'*' if row.features_stored else ''}"


def _has_unknown_parts(row: Row) -> bool:
    return row.accuracy is not None and row.features_seconds is None and not row.features_stored


def _number(value: float | None, digits: int, scale: float = 1) -> str:
    return "-" if value is None else f"{scale * value:,.{digits}f}"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
