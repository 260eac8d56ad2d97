"""``tlkit bench``: how fast tlkit is on this machine, against plain Keras doing the same jobs."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tlkit.atomic import atomic_path
from tlkit.bench.cases import CASES, NAMES, START_UP
from tlkit.bench.measure import CaseBench, StartUpBench
from tlkit.bench.report import MARKDOWN, PICTURE, summarise, write_report
from tlkit.bench.results import RESULT, Results
from tlkit.errors import ConfigError, did_you_mean
from tlkit.paths import expand_home
from tlkit.runtime import environment
from tlkit.store_urls import local_only

__all__ = ["MARKDOWN", "NAMES", "PICTURE", "RESULT", "run_bench"]

_KEYS = ("x_train", "y_train", "x_test", "y_test")
# Fewer than 5 training images leave no test image.
_LEAST_IMAGES = 5


def run_bench(
    cases: Sequence[str],
    data: Path,
    rounds: int,
    output: Path,
    images: int | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Measure tlkit against plain Keras and write ``bench.json``, ``bench.md``, ``bench.png``.

    Each measurement is written at once. With the same output, measurements that are already there
    and were made with the same command, data and versions are kept.

    Args:
        cases: Names out of ``NAMES``; all if empty.
        data: CIFAR-10 as an .npz with x_train, y_train, x_test, y_test; ``start-up`` needs none.
        rounds: How often each side is measured, 1 or more.
        output: Folder for the results; made if it is missing.
        images: Use the first ``images`` training images and a fifth as many test images; None for
            all.
        say: Told what is being measured.

    Returns:
        The content of ``bench.json``; ``summary`` holds the medians and ratios.

    Raises:
        ConfigError: If an argument is not valid.
        TlkitError: If a measured command fails.
    """
    names = _check(cases, data, rounds, images)
    data, output = expand_home(data).resolve(), local_only(output).resolve()
    work = output / "bench-work"
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise ConfigError(f"Cannot make the folder {work}: {err.strerror}.") from err
    results = Results(output / RESULT)
    chosen = [CASES[name] for name in names if name in CASES]
    data_key = _data_key(data, images) if chosen else None
    results.document.update(
        cases=names,
        rounds=rounds,
        data=data_key,
        environment=environment(),
        memory_bytes=_memory_bytes(),
        command=list(sys.orig_argv),
        left_out=[
            {"case": case.name, "variant": variant.name, "reason": reason}
            for case in chosen
            for variant in case.variants
            if (reason := variant.missing()) is not None
        ],
    )
    for item in results.document["left_out"]:
        say(f"{item['case']}, {item['variant']} left out: {item['reason']}")
    used = data
    if chosen and images is not None:
        used = output / f"bench-images-{images}.npz"
        _write_subset(data, used, images)
    benches: list[CaseBench | StartUpBench] = [
        CaseBench(case, used, data_key or {}, results, work / case.name) for case in chosen
    ]
    if START_UP.name in names:
        benches.append(StartUpBench(START_UP, results))
    before = len(results.document["superseded"])
    kept = sum(bench.keep() for bench in benches)
    stale = len(results.document["superseded"]) - before
    if kept or stale:
        say(
            f"Kept {kept} measurements of an earlier bench; set aside {stale} made with another "
            f"command, data or version."
        )
    results.write()
    for bench in benches:
        bench.run(rounds, say)
        results.document["summary"] = summarise(results.document)
        results.write()
        write_report(results.document, output)
    shutil.rmtree(work, ignore_errors=True)
    say(f"Results: {output / MARKDOWN}")
    return results.document


def _check(cases: Sequence[str], data: Path, rounds: int, images: int | None) -> list[str]:
    for name in cases:
        if name not in NAMES:
            raise ConfigError(
                f"Unknown case '{name}'.{did_you_mean(name, NAMES)}\nAvailable: {', '.join(NAMES)}."
            )
    if rounds < 1:
        raise ConfigError(f"rounds = {rounds} is not allowed: 1 or more.")
    if images is not None and images < _LEAST_IMAGES:
        raise ConfigError(f"images = {images} is not allowed: {_LEAST_IMAGES} or more.")
    names = [name for name in NAMES if name in cases or not cases]
    if names != [START_UP.name] and not expand_home(data).is_file():
        raise ConfigError(
            f"There is no data file {data}. Needed: CIFAR-10 as an .npz with {', '.join(_KEYS)}."
        )
    return names


def _data_key(data: Path, images: int | None) -> dict[str, Any]:
    found = data.stat()
    return {
        "path": str(data),
        "bytes": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "images": images,
    }


def _write_subset(data: Path, path: Path, images: int) -> None:
    import zipfile

    import numpy as np

    try:
        with np.load(data, allow_pickle=False) as stored:
            arrays = {
                key: stored[key][: images if key.endswith("train") else images // 5]
                for key in _KEYS
            }
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as err:
        raise ConfigError(f"Cannot read {data} as .npz with {', '.join(_KEYS)}: {err}") from err
    with atomic_path(path) as temporary:
        np.savez(temporary, **arrays)


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
