"""SweepPage: a sweep as one HTML file."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tlkit.atomic import atomic_write_text
from tlkit.documents.compare import ComparedCell
from tlkit.documents.sweep import SweepDocument, SweepTrial
from tlkit.errors import RunFolderError
from tlkit.paths import expand_home
from tlkit.report.page import PAGE
from tlkit.report.parallel_coordinates import parallel_coordinates
from tlkit.report.rendering import render
from tlkit.report.sweep_charts import history, importance, metric_title, shown_value
from tlkit.report.words import LONG_TEXT_LIMIT, duration, text
from tlkit.wording import plural

SWEEP = "sweep.json"
MAX_ROWS, MAX_TEXT = 300, 100_000
_TEMPLATE = "sweep.html.j2"


def is_sweep(folder: Path) -> bool:
    """Return whether a folder is that of a sweep."""
    return (folder / SWEEP).is_file()


def read_sweep(folder: Path) -> SweepDocument:
    """Read what a sweep left.

    Raises:
        RunFolderError: If the folder holds no sweep, or its record is damaged.
    """
    path = folder / SWEEP
    try:
        return SweepDocument.model_validate_json(path.read_bytes())
    except OSError as err:
        raise RunFolderError(f"Cannot read {path}: {err.strerror or err}.") from err
    except (ValidationError, RecursionError) as err:
        raise RunFolderError(
            f"{path} is damaged, or of another version of tlkit. Give the command of the sweep "
            f"again: it writes the file anew."
        ) from err


def write_sweep_report(folder: Path | str) -> Path:
    """Write ``report.html`` into the folder of a sweep: one file that loads nothing.

    Args:
        folder: What ``tlkit sweep`` wrote into.

    Returns:
        The file.

    Raises:
        PluginError: If ``tlkit[html]`` is not installed.
        RunFolderError: If the folder holds no sweep, or the file cannot be written.
    """
    folder = expand_home(folder)
    sweep = read_sweep(folder)
    path = folder / PAGE
    try:
        atomic_write_text(path, _render(sweep, folder))
    except OSError as err:
        raise RunFolderError(f"Cannot write {path}: {err.strerror or err}.") from err
    return path


def _render(sweep: SweepDocument, folder: Path) -> str:
    charts = {
        "chart-history": history(sweep)
        if any(item.value is not None for item in sweep.trials)
        else None,
        "chart-parallel": parallel_coordinates(sweep),
        "chart-importance": importance(sweep),
    }
    finished = [
        item for item in sweep.trials if item.state == "finished" and item.value is not None
    ]
    sign = -1 if sweep.larger_is_better else 1
    finished.sort(key=lambda item: (sign * (item.value or 0.0), item.number))
    failed = [item for item in sweep.trials if item.state == "failed"]
    best = next((item for item in sweep.trials if item.number == sweep.best), None)
    keys = list(sweep.space)
    return render(
        _TEMPLATE,
        {},
        {key: spec for key, spec in charts.items() if spec is not None},
        name=text(sweep.study),
        subtitle=text(f"A sweep of {sweep.source}", LONG_TEXT_LIMIT),
        metric=metric_title(sweep.metric),
        best=None if best is None else _row(sweep, best, keys),
        tiles=_tiles(sweep, finished),
        tested=_tested(sweep),
        has={key: spec is not None for key, spec in charts.items()},
        importance=sweep.importance,
        left_out=text(", ".join(sweep.importance.left_out), LONG_TEXT_LIMIT)
        if sweep.importance is not None
        else "",
        keys=[
            [f"{text(table)}.", text(name)] for table, _, name in (k.partition(".") for k in keys)
        ],
        rows=[_row(sweep, item, keys) for item in finished[:MAX_ROWS]],
        finished=len(finished),
        failed=[(item.number, text(item.error or "", 300)) for item in failed[:20]],
        num_failed=len(failed),
        space=[(text(key), _range(table)) for key, table in sweep.space.items()],
        setup=_setup(sweep),
        notes=[text(item, LONG_TEXT_LIMIT) for item in sweep.notes[:20]],
        command=""
        if sweep.best_config is None
        else f"tlkit run {shlex.quote(text(sweep.best_config, LONG_TEXT_LIMIT))}",
        config=_config(folder),
    )


def _row(sweep: SweepDocument, trial: SweepTrial, keys: list[str]) -> dict[str, Any]:
    loss = trial.metrics.get("val_loss")
    total = trial.seconds.get("total")
    return {
        "number": trial.number,
        "raw": trial.value,
        "value": _figure(sweep.metric, trial.value),
        "loss": "-" if loss is None else f"{loss:.4f}",
        "epochs": trial.epochs,
        "seconds": "-" if total is None else f"{total:.1f}",
        "values": [_value(trial.values.get(key)) for key in keys],
        "settings": [(text(key), _value(value)) for key, value in trial.values.items()],
    }


def _figure(metric: str, value: float | None) -> str:
    if value is None:
        return "-"
    shown = shown_value(metric, value)
    return f"{shown:.2f} %" if metric == "val_accuracy" else f"{shown:.4f}"


def _value(value: Any) -> str:
    if value is None:
        return "-"
    return text(f"{value:.4g}" if isinstance(value, float) else value)


def _tiles(sweep: SweepDocument, finished: list[SweepTrial]) -> list[tuple[str, str, str]]:
    pruned = sum(item.state == "pruned" for item in sweep.trials)
    failed = sum(item.state == "failed" for item in sweep.trials)
    each = [item.seconds.get("total") or 0.0 for item in sweep.trials]
    training = sum(item.seconds.get("training") or 0.0 for item in sweep.trials)
    tiles = [
        ("Trials", f"{len(sweep.trials):,}", f"of {sweep.wanted:,} wanted"),
        ("Finished", f"{len(finished):,}", f"{pruned:,} pruned, {failed:,} failed"),
    ]
    if each:
        longest = f"longest {duration(max(each))}"
        tiles.append(("Each trial", duration(sum(each) / len(each)), longest))
        tiles.append(("All trials", duration(sum(each)), f"training {duration(training)}"))
    return tiles


def _tested(sweep: SweepDocument) -> dict[str, Any] | None:
    tested = sweep.tested
    if tested is None:
        return None
    same = tested.default.digest == tested.best.digest
    return {
        "default": _accuracy(tested.default),
        "best": _accuracy(tested.best),
        "same": same,
        "difference": None if tested.difference is None else f"{100 * tested.difference:+.1f}",
        "interval": None
        if tested.interval is None
        else " to ".join(f"{100 * end:+.1f}" for end in tested.interval),
        "sentence": text(tested.sentence, LONG_TEXT_LIMIT),
    }


def _accuracy(cell: ComparedCell) -> dict[str, Any]:
    figures = cell.figures
    if figures is None:
        return {"value": "failed", "interval": text(cell.error or "", 300), "bar": None}
    low, high = figures.interval or (figures.accuracy, figures.accuracy)
    return {
        "value": f"{100 * figures.accuracy:.1f} %",
        "interval": f"95 % interval {100 * low:.1f} to {100 * high:.1f} %",
        "bar": {"low": 100 * low, "high": 100 * high, "value": 100 * figures.accuracy},
    }


def _range(table: Any) -> str:
    if not isinstance(table, dict):
        return text(table)
    if isinstance(table.get("choice"), list):
        found = "one of " + ", ".join(_value(item) for item in table["choice"][:30])
    else:
        found = f"{_value(table.get('low'))} to {_value(table.get('high'))}"
        found += ", whole numbers" if table.get("type") == "int" else ""
        found += f", in steps of {_value(table['step'])}" if table.get("step") else ""
        found += ", drawn from the logarithm" if table.get("log") else ""
    when = table.get("when")
    if isinstance(when, dict) and when:
        found += (
            " (where " + ", ".join(f"{key} is {_value(item)}" for key, item in when.items()) + ")"
        )
    return text(found, 500)


def _setup(sweep: SweepDocument) -> list[tuple[str, str]]:
    direction = "the largest is best" if sweep.larger_is_better else "the smallest is best"
    by = "Ray Tune with ASHA" if sweep.engine == "ray" else f"pruner {sweep.pruner}"
    rows = [
        ("Optimised", f"{sweep.metric}, {direction}"),
        ("Search", f"sampler {sweep.sampler}, {by}, seed {sweep.seed}"),
        ("Study", f"{sweep.study} in {sweep.storage}"),
        ("Workers", plural(len({item.where for item in sweep.trials}), "process")),
    ]
    if sweep.overrides:
        rows.append(("Changed by --set", " ".join(sweep.overrides)))
    return [(key, text(value, LONG_TEXT_LIMIT)) for key, value in rows]


def _config(folder: Path) -> str:
    try:
        with (folder / "best.toml").open(encoding="utf-8", errors="replace") as file:
            found = file.read(MAX_TEXT)
    except OSError:
        return ""
    return "\n".join(text(line, LONG_TEXT_LIMIT) for line in found.splitlines())
