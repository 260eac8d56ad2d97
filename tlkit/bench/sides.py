"""The two sides of a bench: their commands, and what one run of them took."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlkit.bench.cases import Case, Variant
from tlkit.bench.child import Child, as_typed, run_child
from tlkit.bench.results import Measurement
from tlkit.errors import TlkitError

SCRIPT = Path(__file__).resolve().with_name("plain_keras.py")


def plain_command(case: Case, data: Path, output: Path) -> list[str]:
    """Return the command of the plain Keras side."""
    # -P, as the folder of the script has modules with everyday names.
    return [sys.executable, "-P", str(SCRIPT), str(data), *case.plain, "--output", str(output)]


def tlkit_commands(variant: Variant, data: Path, output: Path) -> list[list[str]]:
    """Return the commands of the tlkit side, each with its own folder of runs."""
    setting = f"dataset.path={json.dumps(str(data), ensure_ascii=False)}"
    return [
        tlkit_command("run", *arguments, "--set", setting, "--runs", str(output / str(number)))
        for number, arguments in enumerate(variant.runs, start=1)
    ]


def tlkit_command(*arguments: str) -> list[str]:
    """Return a ``tlkit`` command of this Python."""
    return [sys.executable, "-m", "tlkit", *arguments]


def measure_plain(command: Sequence[str], output: Path) -> Measurement:
    """Measure the plain Keras side.

    Raises:
        TlkitError: If the command fails or does not end in its JSON line.
    """
    empty(output)
    child = run_child(command)
    try:
        last = json.loads(child.stdout.strip().splitlines()[-1])
        job, accuracy = float(last["seconds"]), [float(item) for item in last["accuracy"]]
    except (IndexError, ValueError, KeyError, TypeError) as err:
        raise TlkitError(f"The last line of {as_typed(command)} is not its JSON result.") from err
    return _measurement([child], job, accuracy, parts=[last])


def measure_tlkit(commands: Sequence[Sequence[str]], output: Path, cache: Path) -> Measurement:
    """Measure the tlkit side: runs one after another over one cache.

    Raises:
        TlkitError: If a command fails or leaves no run.
    """
    empty(output)
    children, parts, accuracy = [], [], []
    for number, command in enumerate(commands, start=1):
        children.append(run_child(command, {"TLKIT_CACHE": str(cache)}))
        found = sorted((output / str(number)).glob("*/run.json"))
        if len(found) != 1:
            raise TlkitError(f"{as_typed(command)} left {len(found)} finished runs, not 1.")
        record = json.loads(found[0].read_text(encoding="utf-8"))
        parts.append({key: record.get(key) for key in ("seconds", "feature_cache", "warnings")})
        accuracy.append(float(record["test"]["accuracy"]))
    job = sum(part["seconds"]["total"] - part["seconds"]["start"] for part in parts)
    return _measurement(children, job, accuracy, parts)


def _measurement(
    children: Sequence[Child], job: float, accuracy: list[float], parts: list[Any]
) -> Measurement:
    wall = sum(child.wall_seconds for child in children)
    return {
        "job_seconds": job,
        "wall_seconds": wall,
        "process_start_seconds": wall - job,
        "peak_memory_bytes": max(child.peak_memory_bytes for child in children),
        "accuracy": accuracy,
        "parts": parts,
    }


def empty(folder: Path) -> None:
    """Make a folder, or empty the one that is there."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
