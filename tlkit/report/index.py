"""Index: one HTML page that compares the finished runs of a folder."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from tlkit.atomic import atomic_write_text
from tlkit.errors import RunFolderError
from tlkit.mirror import fetched, put_back
from tlkit.records import RunInfo, RunResult
from tlkit.report.charts import accuracy_of_runs
from tlkit.report.page import PAGE
from tlkit.report.rendering import render
from tlkit.report.words import duration, model_bytes, size_text, text
from tlkit.run_folder import CONFIG, RUN, is_summary, read_run
from tlkit.unfinished import name_unfinished, unfinished_runs
from tlkit.wording import date

INDEX = "index.html"
MAX_RUNS_IN_CHART, MAX_COLOURS = 40, 7
MAX_DIFFERS = 200
_IN_COLUMNS = ("run.name", "backbone.name", "head.name", "dataset.name")
_STAMP = re.compile(r"^\d{8}-\d{6}-")


@dataclass(frozen=True)
class Problem:
    """A folder that holds no finished run, and why."""

    folder: str
    reason: str


def run_folders(folder: Path) -> list[Path]:
    """Return the folders of runs in a folder, finished or not, sorted by name."""
    found = {path.parent for name in (RUN, CONFIG) for path in folder.glob(f"*/{name}")}
    return sorted(path for path in found if not path.name.startswith("."))


def write_index(folder: Path | str) -> Path:
    """Write ``index.html``: a table that sorts, a chart, and a link to each report that is there.

    Args:
        folder: A folder of run folders, such as ``runs``, or its URL.

    Returns:
        The file.

    Raises:
        PluginError: If ``tlkit[html]`` is not installed.
        RunFolderError: If there is no finished run, or the file cannot be written.
    """
    folder = fetched(folder, is_summary)
    results: list[RunResult] = []
    problems: list[Problem] = []
    for path in run_folders(folder):
        try:
            results.append(read_run(path))
        except RunFolderError as err:
            unfinished = not (path / RUN).is_file()
            go_on = f"did not finish; go on with `tlkit resume {path}`"
            reason = text(go_on if unfinished else err, 300)
            problems.append(Problem(text(path.name), reason))
    if not results:
        others = unfinished_runs(folder)
        named = f", only {len(others)} that did not finish" if others else ""
        more = f"\n{name_unfinished(others)}" if others else ""
        raise RunFolderError(f"{folder} holds no finished run{named}.{more}")
    path = folder / INDEX
    try:
        atomic_write_text(path, _render(folder, results, problems))
    except OSError as err:
        raise RunFolderError(f"Cannot write {path}: {err.strerror or err}.") from err
    put_back(path)
    return path


def _render(folder: Path, results: list[RunResult], problems: list[Problem]) -> str:
    differing = _differing(results)
    rows = [
        {**_row(result), "differs": differs}
        for result, differs in zip(results, differing, strict=True)
    ]
    labels = Counter(row["label"] for row in rows)
    for row in rows:
        if labels[row["label"]] > 1:
            row["label"] = row["folder"]
    best = sorted(rows, key=lambda row: -row["accuracy"])
    shown = best[:MAX_RUNS_IN_CHART]
    backbones = list(dict.fromkeys(row["backbone"] for row in shown))
    points = [
        {
            "run": row["label"],
            "accuracy": round(100 * row["accuracy"], 3),
            "low": round(100 * row["low"], 3),
            "high": round(100 * row["high"], 3),
            "backbone": row["backbone"] if len(backbones) <= MAX_COLOURS else "runs",
        }
        for row in shown
    ]
    colours = backbones if len(backbones) <= MAX_COLOURS else ["runs"]
    return render(
        "index.html.j2",
        {},
        {"chart-runs": accuracy_of_runs(points, colours)},
        name=text(folder.resolve().name),
        rows=rows,
        best=best[0],
        shown=len(shown),
        problems=problems,
        same_test=len({result.fingerprints.get("test") for result in results}) == 1,
    )


def _differing(results: list[RunResult]) -> list[str]:
    """Return for each run the settings that are not the same in all, but for those with columns.

    Those that change nothing in a run are left out.
    """
    all_settings = [_settings(result.info) for result in results]
    keys = dict.fromkeys(key for settings in all_settings for key in settings)
    shown = [
        key
        for key in keys
        if key not in _IN_COLUMNS and len({str(item.get(key)) for item in all_settings}) > 1
    ]
    return [
        text(
            ", ".join(f"{key.partition('.')[2]} {item[key]}" for key in shown if key in item),
            MAX_DIFFERS,
        )
        for item in all_settings
    ]


def _settings(info: RunInfo) -> dict[str, bool | int | float | str]:
    idle = {f"{kind}.{name}" for kind, names in info.idle_options.items() for name in names}
    found = {key: value for key, value in info.settings.items() if key not in idle}
    if "run.start_from" in found:
        found["run.start_from"] = PurePath(str(found["run.start_from"])).name
    return found


def _row(result: RunResult) -> dict[str, Any]:
    assert result.folder is not None
    config, folder = result.info.config, result.folder
    low, high = result.test.accuracy_interval or (result.accuracy, result.accuracy)
    size = model_bytes(folder)
    names = {
        kind: text(config.get(kind, {}).get("name", "?"))
        for kind in ("backbone", "head", "dataset")
    }
    seconds = result.seconds.get("total", 0.0)
    return {
        **names,
        "folder": text(folder.name),
        "label": text(_STAMP.sub("", folder.name) or folder.name),
        "link": f"{quote(folder.name)}/{PAGE}" if (folder / PAGE).is_file() else "",
        "date": date(result.info.began),
        "accuracy": result.accuracy,
        "low": low,
        "high": high,
        "interval": result.test.accuracy_interval is not None,
        "test_images": len(result.test.labels),
        "train_images": result.info.num_train,
        "test": text(result.fingerprints.get("test", "")[:7]),
        "seconds": seconds,
        "duration": duration(seconds),
        "bytes": size if size is not None else -1,
        "size": size_text(size) if size is not None else "-",
    }
