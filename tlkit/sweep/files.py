"""Files: a sweep as JSON, CSV, the best config as TOML, and the HTML page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlkit.atomic import atomic_write_text
from tlkit.documents.sweep import SweepDocument
from tlkit.errors import PluginError, RunFolderError
from tlkit.run_folder import config_text
from tlkit.sweep.records import Sweep, Tested
from tlkit.text import safe_cell

JSON, CSV, BEST, SPACE = "sweep.json", "trials.csv", "best.toml", "space.toml"
_METRICS = ("val_accuracy", "val_loss", "accuracy", "loss")
_SECONDS = ("total", "training", "features")


def document(sweep: Sweep) -> SweepDocument:
    """Return what is printed and written of a sweep."""
    best = sweep.best
    return SweepDocument.model_validate(
        {
            "status": "ok" if best is not None or not sweep.trials else "failed",
            "folder": sweep.folder,
            "study": sweep.name,
            "source": sweep.source,
            "overrides": sweep.overrides,
            "storage": sweep.storage,
            "engine": sweep.engine,
            "metric": sweep.settings.metric,
            "larger_is_better": sweep.settings.larger_is_better,
            "sampler": sweep.settings.sampler,
            "pruner": sweep.settings.pruner,
            "seed": sweep.settings.seed,
            "wanted": sweep.settings.trials,
            "space": sweep.space,
            "trials": sweep.trials,
            "at_work": sweep.at_work,
            "best": None if best is None else best.number,
            "best_config": None if best is None or sweep.folder is None else sweep.folder / BEST,
            "importance": sweep.importance,
            "tested": None if sweep.tested is None else _tested(sweep.tested),
            "seconds": sweep.seconds,
            "notes": sweep.notes,
            "report": sweep.report,
        }
    )


def _tested(tested: Tested) -> dict[str, Any]:
    pair = tested.pair
    return {
        "default": tested.default,
        "best": tested.best,
        "difference": None if pair is None else pair.difference,
        "interval": None if pair is None else pair.interval,
        "p_value": None if pair is None else pair.p_value,
        "sentence": tested.sentence,
    }


def write(sweep: Sweep, space_text: str, best_config: Mapping[str, Any] | None) -> None:
    """Write ``sweep.json``, ``trials.csv``, ``space.toml`` and ``best.toml``.

    Raises:
        RunFolderError: If they cannot be written.
    """
    folder = sweep.folder
    assert folder is not None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(folder / SPACE, space_text)
        atomic_write_text(folder / CSV, _csv(sweep))
        if best_config is not None:
            atomic_write_text(folder / BEST, config_text(best_config))
        atomic_write_text(folder / JSON, document(sweep).text() + "\n")
    except OSError as err:
        raise RunFolderError(f"Cannot write into {folder}: {err.strerror or err}.") from err


def write_page(folder: Path) -> Path | None:
    """Write the HTML page; None where ``tlkit[html]`` is not installed."""
    from tlkit.report.rendering import require_extra
    from tlkit.report.sweep_page import write_sweep_report

    try:
        require_extra()
    except PluginError:
        return None
    return write_sweep_report(folder)


def _csv(sweep: Sweep) -> str:
    keys = list(sweep.space)
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    seconds = [f"{name}_seconds" for name in _SECONDS]
    writer.writerow(["trial", "state", *keys, *_METRICS, "epochs", *seconds, "where", "error"])
    for trial in sweep.trials:
        writer.writerow(
            [
                trial.number,
                trial.state,
                *(_cell(trial.values.get(key)) for key in keys),
                *(trial.metrics.get(name) for name in _METRICS),
                trial.epochs,
                *(trial.seconds.get(name) for name in _SECONDS),
                safe_cell(trial.where),
                safe_cell(trial.error or ""),
            ]
        )
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        value = json.dumps(value)
    return safe_cell(value) if isinstance(value, str) else value
