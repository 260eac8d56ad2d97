"""Charts of a sweep as Vega-Lite specifications; see ``tlkit.report.charts``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tlkit.documents.sweep import SweepDocument, SweepTrial
from tlkit.report.charts import Spec
from tlkit.text import printable

MAX_LINES = 400
_TEXT_LIMIT = 24
_BEST, _OTHERS = "best tenth", "other finished trials"
_FINISHED, _PRUNED, _BEST_SO_FAR = "finished", "pruned", "best so far"
_ROW_HEIGHT = 30


def metric_title(metric: str) -> str:
    """Return what an axis of the metric is called."""
    return "Validation accuracy (%)" if metric == "val_accuracy" else "Validation loss (nats)"


def shown_value(metric: str, value: float) -> float:
    """Return a metric as the charts show it: accuracies in per cent."""
    return round(100 * value if metric == "val_accuracy" else value, 5)


def history(sweep: SweepDocument) -> Spec:
    """Return the metric of each trial against its number, and the best one so far."""
    rows: list[dict[str, Any]] = []
    steps: list[dict[str, Any]] = []
    best: float | None = None
    for trial in sweep.trials:
        if trial.value is None or not math.isfinite(trial.value):
            continue
        value = shown_value(sweep.metric, trial.value)
        rows.append({"trial": trial.number, "value": value, "trials": trial.state})
        if trial.state == "finished":
            better = best is None or (value > best if sweep.larger_is_better else value < best)
            best = value if better else best
        if best is not None:
            steps.append({"trial": trial.number, "value": best, "trials": _BEST_SO_FAR})
    title = metric_title(sweep.metric)
    low, high = _middle(
        [row["value"] for row in rows if row["trials"] == _FINISHED]
        or [row["value"] for row in rows],
        sweep.larger_is_better,
    )
    numbers = {
        "field": "trial",
        "type": "quantitative",
        "title": "Trial",
        "axis": {"format": "d", "grid": False, "tickMinStep": 1},
    }
    values = {
        "field": "value",
        "type": "quantitative",
        "title": title,
        "scale": {"zero": False, "domain": [low, high], "nice": True, "clamp": True},
    }
    named = [_FINISHED, _BEST_SO_FAR]
    named += [_PRUNED] if any(row["trials"] == _PRUNED for row in rows) else []
    colour = {
        "field": "trials",
        "type": "nominal",
        "scale": {"domain": named},
        "legend": {"orient": "bottom", "title": None},
    }
    return {
        "layer": [
            {
                "data": {"values": rows},
                "mark": {"type": "point", "opacity": 0.7},
                "encoding": {
                    "x": numbers,
                    "y": values,
                    "color": colour,
                    "shape": {
                        "field": "trials",
                        "type": "nominal",
                        "scale": {"domain": named, "range": ["circle", "stroke", "cross"]},
                        "legend": {"orient": "bottom", "title": None},
                    },
                    "tooltip": [
                        {"field": "trial", "title": "Trial"},
                        {"field": "trials", "title": "State"},
                        {"field": "value", "title": title, "format": ".3f"},
                    ],
                },
            },
            {
                "data": {"values": steps},
                "mark": {"type": "line", "interpolate": "step-after"},
                "encoding": {"x": numbers, "y": values, "color": colour},
            },
        ],
        "height": 300,
    }


def importance(sweep: SweepDocument) -> Spec | None:
    """Return a bar for each key of the space; None where its importance is not known."""
    if sweep.importance is None or not sweep.importance.shares:
        return None
    rows = [
        {"key": printable(key, _TEXT_LIMIT * 2), "share": round(100 * share, 2)}
        for key, share in sweep.importance.shares.items()
    ]
    keys = {
        "field": "key",
        "type": "nominal",
        "sort": None,
        "title": None,
        "axis": {"labelLimit": 200},
    }
    shares = {
        "field": "share",
        "type": "quantitative",
        "title": "Share of the variance (%)",
        "scale": {"domain": [0, 100]},
    }
    return {
        "data": {"values": rows},
        "layer": [
            {
                "mark": {"type": "bar"},
                "encoding": {
                    "y": keys,
                    "x": shares,
                    "tooltip": [
                        {"field": "key", "title": "Key"},
                        {"field": "share", "title": "Share (%)", "format": ".1f"},
                    ],
                },
            },
            {
                "mark": {"type": "text", "style": "bar-value"},
                "encoding": {
                    "y": keys,
                    "x": shares,
                    "text": {"field": "share", "format": ".0f"},
                },
            },
        ],
        "height": _ROW_HEIGHT * max(len(rows), 2),
    }


def parallel_coordinates(sweep: SweepDocument) -> Spec | None:
    """Return a line for each finished trial over one axis for each key; None without a trial.

    The best tenth is marked. The last axis is the metric. A key that a trial does not have leaves a
    gap in its line.
    """
    finished = [
        item for item in sweep.trials if item.state == "finished" and item.value is not None
    ]
    if not finished:
        return None
    sign = -1 if sweep.larger_is_better else 1
    finished.sort(key=lambda item: sign * (item.value or 0.0))
    best = {item.number for item in finished[: max(1, len(finished) // 10)]}
    finished = finished[:MAX_LINES]
    scales = {key: _Scale.of(key, table, finished) for key, table in sweep.space.items()}
    values = [shown_value(sweep.metric, item.value or 0.0) for item in finished]
    low, high = _middle(values, sweep.larger_is_better)
    scales[sweep.metric] = _Scale.numbers(low, high, log=False)
    names = {key: _broken(key) for key in scales}
    rows = []
    for trial, value in zip(finished, values, strict=True):
        for key, scale in scales.items():
            item = value if key == sweep.metric else trial.values.get(key)
            rows.append(
                {
                    "key": names[key],
                    "trial": trial.number,
                    "place": None if item is None else scale.place(item),
                    "value": "not set" if item is None else _short(item),
                    "metric": value,
                    "trials": _BEST if trial.number in best else _OTHERS,
                }
            )
    ticks = [
        {"key": names[key], "place": place, "label": label}
        for key, scale in scales.items()
        for place, label in scale.ticks
    ]
    order = list(names.values())
    keys = {
        "field": "key",
        "type": "nominal",
        "sort": order,
        "title": None,
        "scale": {"type": "point", "padding": 0.35},
        "axis": {
            "orient": "top",
            "labelAngle": 0,
            "domain": False,
            "ticks": False,
            "labelBaseline": "top",
            "labelPadding": 0,
            "labelExpr": "split(datum.label, ' ')",
            "labelOverlap": False,
        },
    }
    places = {
        "field": "place",
        "type": "quantitative",
        "axis": None,
        # Above the axes there is room for their names.
        "scale": {"domain": [-0.03, 1.25], "nice": False},
    }
    lines = [
        {
            "data": {"values": [row for row in rows if row["trials"] == which]},
            "mark": {
                "type": "line",
                "strokeWidth": 2 if which == _BEST else 1,
                "opacity": 0.9 if which == _BEST else 0.35,
                "interpolate": "linear",
            },
            "encoding": {
                "x": keys,
                "y": places,
                "detail": {"field": "trial"},
                "color": {
                    "field": "trials",
                    "type": "nominal",
                    "scale": {"domain": [_OTHERS, _BEST]},
                    "legend": {"orient": "bottom", "title": None},
                },
                "tooltip": [
                    {"field": "trial", "title": "Trial"},
                    {"field": "metric", "title": metric_title(sweep.metric), "format": ".3f"},
                ],
            },
        }
        for which in (_OTHERS, _BEST)
    ]
    axes = {
        "data": {"values": [{"key": name} for name in order]},
        "mark": {"type": "rule", "style": "axis-line"},
        "encoding": {"x": keys, "y": {"datum": 0, **_bare(places)}, "y2": {"datum": 1}},
    }
    labels = {
        "data": {"values": ticks},
        "mark": {"type": "text", "style": "axis-value"},
        "encoding": {"x": keys, "y": places, "text": {"field": "label"}},
    }
    return {"layer": [axes, *lines, labels], "height": 320}


def _bare(channel: Spec) -> Spec:
    """Return a channel without its field."""
    return {key: value for key, value in channel.items() if key != "field"}


def _middle(values: Sequence[float], larger_is_better: bool) -> tuple[float, float]:
    """Return the range to draw: the best value, and on the other side not the worst tenth.

    A trial that learned nothing would press all others into one line; it is drawn at the edge.
    """
    ordered = sorted(values) or [0.0]
    tenth = len(ordered) // 10
    low, high = (
        (ordered[tenth], ordered[-1]) if larger_is_better else (ordered[0], ordered[-1 - tenth])
    )
    return (low, high) if low < high else (low - 1, high + 1)


class _Scale:
    """Where the values of one key stand on its axis, 0 to 1."""

    def __init__(self, ticks: Sequence[tuple[float, str]], low: float, high: float, log: bool):
        self.ticks, self._low, self._high, self._log = list(ticks), low, high, log
        self._choices: dict[str, float] = {}

    @classmethod
    def numbers(cls, low: float, high: float, *, log: bool) -> _Scale:
        """Return that of a range."""
        if not low < high:
            return cls([(0.5, _short(low))], low - 1, low + 1, False)
        middle = math.sqrt(low * high) if log else (low + high) / 2
        found = cls([], low, high, log)
        whole = isinstance(low, int) and isinstance(high, int)
        marks = [low, round(middle) if whole else middle, high]
        found.ticks = [(found.place(item) or 0.0, _short(item)) for item in marks]
        return found

    @classmethod
    def choices(cls, choices: Sequence[Any]) -> _Scale:
        """Return that of a choice."""
        found = cls([], 0, 1, False)
        last = max(len(choices) - 1, 1)
        found._choices = {json.dumps(item): place / last for place, item in enumerate(choices)}
        found.ticks = [(place / last, _short(item)) for place, item in enumerate(choices)]
        return found

    @classmethod
    def of(cls, key: str, table: Any, trials: Sequence[SweepTrial]) -> _Scale:
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


def _short(value: Any) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return printable(text, _TEXT_LIMIT)


def _broken(key: str) -> str:
    """Return a key with spaces where its label may be broken into lines."""
    return re.sub(r"([._])(?=.)", r"\1 ", printable(key, 2 * _TEXT_LIMIT)).replace("  ", " ")
