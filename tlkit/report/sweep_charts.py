"""Charts of a sweep as Vega-Lite specifications; see ``tlkit.report.charts``."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tlkit.documents.sweep import SweepDocument
from tlkit.report.charts import Spec
from tlkit.report.key_axes import TEXT_LIMIT
from tlkit.text import printable

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
    rows, steps = _trials_and_best(sweep)
    low, high = middle(
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
        "title": metric_title(sweep.metric),
        "scale": {"zero": False, "domain": [low, high], "nice": True, "clamp": True},
    }
    named = [_FINISHED, _BEST_SO_FAR]
    named += [_PRUNED] if any(row["trials"] == _PRUNED for row in rows) else []
    series = {
        "field": "trials",
        "type": "nominal",
        "scale": {"domain": named},
        "legend": {"orient": "bottom", "title": None},
    }
    shapes = {**series, "scale": {"domain": named, "range": ["circle", "stroke", "cross"]}}
    points = {
        "data": {"values": rows},
        "mark": {"type": "point", "opacity": 0.7},
        "encoding": {
            "x": numbers,
            "y": values,
            "color": series,
            "shape": shapes,
            "tooltip": [
                {"field": "trial", "title": "Trial"},
                {"field": "trials", "title": "State"},
                {"field": "value", "title": values["title"], "format": ".3f"},
            ],
        },
    }
    best = {
        "data": {"values": steps},
        "mark": {"type": "line", "interpolate": "step-after"},
        "encoding": {"x": numbers, "y": values, "color": series},
    }
    return {"layer": [points, best], "height": 300}


def _trials_and_best(sweep: SweepDocument) -> tuple[list[Spec], list[Spec]]:
    """Return a row for each trial with a value, and one for the best value up to it."""
    rows: list[Spec] = []
    steps: list[Spec] = []
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
    return rows, steps


def importance(sweep: SweepDocument) -> Spec | None:
    """Return a bar for each key of the space; None where its importance is not known."""
    if sweep.importance is None or not sweep.importance.shares:
        return None
    rows = [
        {"key": printable(key, TEXT_LIMIT * 2), "share": round(100 * share, 2)}
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


def middle(values: Sequence[float], larger_is_better: bool) -> tuple[float, float]:
    """Return the range to draw: the best value, and on the other side not the worst tenth.

    A trial that learned nothing would press all others into one line; it is drawn at the edge.
    """
    ordered = sorted(values) or [0.0]
    tenth = len(ordered) // 10
    low, high = (
        (ordered[tenth], ordered[-1]) if larger_is_better else (ordered[0], ordered[-1 - tenth])
    )
    return (low, high) if low < high else (low - 1, high + 1)
