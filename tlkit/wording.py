"""Wording: numbers as they are said in every report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tlkit.records import Ancestor, Evaluation, Lineage

_MOST_NAMES = 10


def percent(share: float) -> str:
    """Return a share as per cent, such as ``33.8 %``."""
    return f"{share * 100:.1f} %"


def accuracy_text(test: Evaluation) -> str:
    """Return the test accuracy, with its interval where that is known."""
    text = percent(test.accuracy)
    if test.accuracy_interval is not None:
        low, high = (f"{100 * end:.1f}" for end in test.accuracy_interval)
        text += f" (95 % interval {low} to {high})"
    return text


def share_rows(test: Evaluation) -> list[tuple[str, str]]:
    """Return names and values of the shares beside the accuracy; unknown ones are left out."""
    shares = (
        ("Balanced accuracy", test.balanced_accuracy),
        ("Macro F1", test.macro_f1),
        ("Top-5 accuracy", test.top_5),
    )
    return [(name, percent(share)) for name, share in shares if share is not None]


def lineage_rows(lineage: Lineage) -> list[tuple[str, str]]:
    """Return what a run started from and what it took over, as names and values."""
    parent, *before = lineage.ancestors
    origin = f"{_ancestor(parent)}, test accuracy {percent(parent.accuracy)}"
    if before:
        origin += f"; before it {', '.join(_ancestor(item) for item in before)}"
    taken = {
        "kept": "the backbone and the head",
        "grown": "the backbone and the head, with new classes beside the old ones",
        "new": f"the backbone; the head is new: {lineage.reason}",
    }
    parts = [taken[lineage.head]]
    for what, names in (
        ("new classes", lineage.new_classes),
        ("dropped classes", lineage.dropped_classes),
        ("replayed classes", lineage.replayed_classes),
    ):
        if names:
            parts.append(f"{what}: {_some(names)}")
    return [("Starts from", origin), ("Taken over", "; ".join(parts))]


def old_classes_text(lineage: Lineage) -> str:
    """Return how far the parent's classes are known before and after; empty if not measured."""
    if lineage.accuracy_before is None or lineage.accuracy_after is None:
        return ""
    return (
        f"{percent(lineage.accuracy_before)} right before the first step, "
        f"{percent(lineage.accuracy_after)} now, of {lineage.known_test_images:,} test images of "
        f"the parent's classes"
    )


def _ancestor(item: Ancestor) -> str:
    return PurePath(item.folder).name or item.name


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def plural(count: int, noun: str) -> str:
    """Return ``1 epoch`` or ``2 epochs``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun}es" if noun.endswith("s") else f"{count:,} {noun}s"


def rate(value: float | None) -> str:
    """Return images per second, or an empty text if nothing can be said yet."""
    if not value:
        return ""
    return f"{value:,.0f} images/s" if value >= 10 else f"{value:.1f} images/s"


def clock(seconds: float) -> str:
    """Return a duration as ``1:23`` or ``2:01:23``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def date(when: str) -> str:
    """Return an ISO 8601 time as ``2026-11-24 12:08 UTC+01:00``; empty for what is none.

    Without an offset it ends after the minutes.
    """
    try:
        return f"{datetime.fromisoformat(when):%Y-%m-%d %H:%M %Z}".rstrip()
    except ValueError:
        return ""
