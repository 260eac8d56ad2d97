"""Parallel coordinates of a sweep: a line for each trial over an axis for each key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tlkit.documents.sweep import SweepDocument
from tlkit.report.charts import Spec
from tlkit.report.key_axes import KeyAxis, broken, short
from tlkit.report.sweep_charts import metric_title, middle, shown_value

MAX_LINES = 400
_BEST, _OTHERS = "best tenth", "other finished trials"


_PLACES: Spec = {
    "field": "place",
    "type": "quantitative",
    "axis": None,
    # Above the axes there is room for their names.
    "scale": {"domain": [-0.03, 1.25], "nice": False},
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
    axes = {key: KeyAxis.of(key, table, finished) for key, table in sweep.space.items()}
    values = [shown_value(sweep.metric, item.value or 0.0) for item in finished]
    low, high = middle(values, sweep.larger_is_better)
    axes[sweep.metric] = KeyAxis.numbers(low, high, log=False)
    rows = []
    for trial, value in zip(finished, values, strict=True):
        for key, axis in axes.items():
            item = value if key == sweep.metric else trial.values.get(key)
            rows.append(
                {
                    "key": broken(key),
                    "trial": trial.number,
                    "place": None if item is None else axis.place(item),
                    "value": "not set" if item is None else short(item),
                    "metric": value,
                    "trials": _BEST if trial.number in best else _OTHERS,
                }
            )
    keys = _keys_channel([broken(key) for key in axes])
    lines = [_lines(rows, which, keys, metric_title(sweep.metric)) for which in (_OTHERS, _BEST)]
    return {"layer": [_rules(keys), *lines, _labels(axes, keys)], "height": 320}


def _keys_channel(names: Sequence[str]) -> Spec:
    """Return the horizontal axis: the name of each key above its own axis."""
    return {
        "field": "key",
        "type": "nominal",
        "sort": list(names),
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


def _lines(rows: Sequence[Spec], which: str, keys: Spec, title: str) -> Spec:
    """Return the lines of the best trials or of the others."""
    return {
        "data": {"values": [row for row in rows if row["trials"] == which]},
        "mark": {
            "type": "line",
            "strokeWidth": 2 if which == _BEST else 1,
            "opacity": 0.9 if which == _BEST else 0.35,
            "interpolate": "linear",
        },
        "encoding": {
            "x": keys,
            "y": _PLACES,
            "detail": {"field": "trial"},
            "color": {
                "field": "trials",
                "type": "nominal",
                "scale": {"domain": [_OTHERS, _BEST]},
                "legend": {"orient": "bottom", "title": None},
            },
            "tooltip": [
                {"field": "trial", "title": "Trial"},
                {"field": "metric", "title": title, "format": ".3f"},
            ],
        },
    }


def _rules(keys: Spec) -> Spec:
    """Return the axes of the keys as upright lines."""
    upright = {key: value for key, value in _PLACES.items() if key != "field"}
    return {
        "data": {"values": [{"key": name} for name in keys["sort"]]},
        "mark": {"type": "rule", "style": "axis-line"},
        "encoding": {"x": keys, "y": {"datum": 0, **upright}, "y2": {"datum": 1}},
    }


def _labels(axes: Mapping[str, KeyAxis], keys: Spec) -> Spec:
    """Return what stands beside the axes of the keys."""
    ticks = [
        {"key": broken(key), "place": place, "label": label}
        for key, axis in axes.items()
        for place, label in axis.ticks
    ]
    return {
        "data": {"values": ticks},
        "mark": {"type": "text", "style": "axis-value"},
        "encoding": {"x": keys, "y": _PLACES, "text": {"field": "label"}},
    }
