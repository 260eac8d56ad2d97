"""Axes of the keys of a sweep: where a value stands, and what is written beside it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tlkit.documents.sweep import SweepTrial
from tlkit.text import printable

TEXT_LIMIT = 24


class KeyAxis:
    """Where the values of one key stand on its axis, 0 to 1."""

    def __init__(self, ticks: Sequence[tuple[float, str]], low: float, high: float, log: bool):
        self.ticks, self._low, self._high, self._log = list(ticks), low, high, log
        self._choices: dict[str, float] = {}

    @classmethod
    def numbers(cls, low: float, high: float, *, log: bool) -> KeyAxis:
        """Return that of a range."""
        if not low < high:
            return cls([(0.5, short(low))], low - 1, low + 1, False)
        middle = math.sqrt(low * high) if log else (low + high) / 2
        found = cls([], low, high, log)
        whole = isinstance(low, int) and isinstance(high, int)
        marks = [low, round(middle) if whole else middle, high]
        found.ticks = [(found.place(item) or 0.0, short(item)) for item in marks]
        return found

    @classmethod
    def choices(cls, choices: Sequence[Any]) -> KeyAxis:
        """Return that of a choice."""
        found = cls([], 0, 1, False)
        last = max(len(choices) - 1, 1)
        found._choices = {json.dumps(item): place / last for place, item in enumerate(choices)}
        found.ticks = [(place / last, short(item)) for place, item in enumerate(choices)]
        return found

    @classmethod
    def of(cls, key: str, table: Any, trials: Sequence[SweepTrial]) -> KeyAxis:
        """Return that of a key of the space."""
        if isinstance(table, Mapping) and isinstance(table.get("choice"), list):
            return cls.choices(table["choice"])
        found = [item.values[key] for item in trials if key in item.values]
        numbers = [item for item in found if isinstance(item, int | float)]
        low, high = (
            table.get(end) if isinstance(table, Mapping) else None for end in ("low", "high")
        )
        if not isinstance(low, int | float) or not isinstance(high, int | float):
            low, high = min(numbers, default=0), max(numbers, default=1)
        log = isinstance(table, Mapping) and table.get("log") is True and low > 0
        return cls.numbers(low, high, log=log)

    def place(self, value: Any) -> float | None:
        """Return where a value stands; None if it stands nowhere."""
        if self._choices:
            return self._choices.get(json.dumps(value))
        if not isinstance(value, int | float) or (self._log and value <= 0):
            return None
        low, high, at = self._low, self._high, float(value)
        if self._log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return round(min(1.0, max(0.0, (at - low) / (high - low))), 4)


def short(value: Any) -> str:
    """Return a value of a key as it is written beside its axis."""
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return printable(text, TEXT_LIMIT)


def broken(key: str) -> str:
    """Return a key with spaces where its label may be broken into lines."""
    return re.sub(r"([._])(?=.)", r"\1 ", printable(key, 2 * TEXT_LIMIT)).replace("  ", " ")
