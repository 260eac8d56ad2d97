"""Final runs: the best config and the config as it was, each run once and tested once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from tlkit.compare.grid import Grid, Planned, config_digest
from tlkit.compare.reading import right_answers
from tlkit.compare.records import Cell
from tlkit.compare.running import WatchedStore, run_grid
from tlkit.compare.significance import paired_tests
from tlkit.compare.table import sentence
from tlkit.run_folder import load_run
from tlkit.shared_parts import SharedParts
from tlkit.sweep.records import Tested
from tlkit.sweep.trying import Variations

RUNS, _LOCK = "runs", ".testing.lock"


def run_best(
    variations: Variations,
    values: Mapping[str, Any],
    folder: Path,
    shared: SharedParts,
    say: Callable[[str], None],
    status: Callable[[str], None],
) -> Tested:
    """Run the best config and the config itself, or find them finished, and compare them.

    Args:
        variations: The config.
        values: What the best trial sets.
        folder: That of the sweep; the runs are made in ``folder/runs``.
        shared: The data of all trials.
        say: Told of each run.
        status: Told what is going on, many times a second.
    """
    store = WatchedStore(None if variations.store is None else variations.store.folder)
    cells = [_plan(variations, {}, "default"), _plan(variations, values, "best")]
    if cells[0].digest == cells[1].digest:
        del cells[1]
    grid = Grid(variations.source, tuple(cells), folder / RUNS, store, variations.registry)
    # Another process of this sweep may have ended at the same time: it finds the runs finished.
    with FileLock(folder / _LOCK):
        found = list(
            run_grid(
                grid,
                store,
                one_thread_per_operation=variations.one_thread_per_operation,
                say=say,
                status=status,
                shared=shared,
            )
        )
    default, best = found[0], found[-1]
    if default is best or default.figures is None or best.figures is None:
        return Tested(default, best)
    (pair,) = paired_tests(right_answers({"best": _result(best), "default": _result(default)}))
    return Tested(default, best, pair, sentence(pair))


def _plan(variations: Variations, values: Mapping[str, Any], name: str) -> Planned:
    overrides = (*variations.assignments(values), f"run.name={name}")
    trainer = variations.trainer(values, reporters=True)
    tables = trainer.config
    return Planned(
        name,
        str(tables["head"]["name"]),
        trainer.few_shot,
        trainer.seed,
        config_digest(tables),
        overrides,
    )


def _result(cell: Cell) -> Any:
    assert cell.folder is not None
    return load_run(cell.folder)
