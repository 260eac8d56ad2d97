"""Where the time went: parts of the run, extractions and engines, as rows of the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlkit.records import RunResult
from tlkit.report.words import duration, text
from tlkit.wording import rate

_PARTS = {
    "start": "Starting TensorFlow",
    "data": "Loading the data",
    "model": "Building the model",
    "features": "Extracting features",
    "training": "Training",
    "checkpoints": "Keeping epochs",
    "evaluation": "Testing",
    "saving": "Saving",
    "reports": "Reports",
}


def time_parts(seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the parts of the total in the order of the run, with what is left over."""
    total = seconds.get("total", 0.0)
    order = [*(key for key in _PARTS if key in seconds), *sorted(set(seconds) - set(_PARTS))]
    parts = [(key, seconds[key]) for key in order if key != "total"]
    rest = total - sum(value for _, value in parts)
    if total and rest > 0.005 * total:
        parts.append(("Other", rest))
    return [
        {
            "part": _PARTS.get(key, text(key, 30)),
            "duration": duration(value),
            "share": value / total if total else 0.0,
        }
        for key, value in parts
    ]


def extraction_rows(result: RunResult) -> list[tuple[str, ...]]:
    """Return where the time of each extraction went."""
    rows: list[tuple[str, ...]] = []
    for item in result.extractions:
        total = sum(item.stage_seconds.values()) or 1.0
        stages = ", ".join(
            f"{text(stage, 30)} {100 * value / total:.0f} %"
            for stage, value in item.stage_seconds.items()
        )
        rows.append(
            (
                text(item.split),
                f"{item.num_images:,}",
                text(item.engine),
                str(item.batch_size),
                duration(item.seconds),
                rate(item.num_images / item.seconds if item.seconds else None),
                stages,
            )
        )
    return rows


def engine_rows(result: RunResult) -> list[tuple[str, ...]]:
    """Return how each engine compared with TensorFlow."""
    rows: list[tuple[str, ...]] = []
    for item in result.engine_trials:
        ratio = item.images_per_second / max(item.reference_images_per_second, 1e-9)
        outcome = "same features" if item.accepted else f"refused: {item.reason}"
        rows.append(
            (
                text(f"{item.engine} {item.version}".strip()),
                text(item.precision),
                f"{ratio:.2f} x" if item.images_per_second else "-",
                f"{item.relative_error:.1e}",
                text(outcome, 300),
            )
        )
    return rows
