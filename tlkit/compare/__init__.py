"""``tlkit compare``: a grid of backbones and heads over one feature store, or finished runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tlkit.compare.files import write
from tlkit.compare.grid import Choice, FewShot, config_digest, plan
from tlkit.compare.reading import differing_settings, figures_of, right_answers
from tlkit.compare.records import Cell, Comparison, Figures, PairedTest, images_per_class
from tlkit.compare.running import Say, WatchedStore, run_grid
from tlkit.compare.significance import paired_tests
from tlkit.compare.summary import best_two, chosen_by_validation, summarise, with_most_images
from tlkit.errors import ConfigError, RunFolderError
from tlkit.events import Events
from tlkit.features import FeatureStore
from tlkit.mirror import fetched
from tlkit.records import RunResult
from tlkit.registry import Registry
from tlkit.run_folder import is_summary, load_run
from tlkit.store_urls import local_place

__all__ = ["Cell", "Comparison", "Figures", "PairedTest", "compare_grid", "compare_runs"]


def compare_grid(
    source: str | os.PathLike[str],
    *,
    backbones: Sequence[Choice] = (),
    heads: Sequence[Choice] = (),
    few_shot: Sequence[FewShot] = (),
    seeds: Sequence[int] = (),
    overrides: Sequence[str] = (),
    output: Path | str = "comparison",
    store: FeatureStore | None = None,
    registry: Registry | None = None,
    one_thread_per_operation: bool = False,
    say: Say | None = None,
    status: Say | None = None,
) -> Comparison:
    """Train every backbone with every head, and compare what they reach and cost.

    Each cell is an ordinary run in ``output/runs``. A cell that is finished there already, with the
    same resolved config on the same images, is not run again. After each cell ``comparison.json``
    and ``comparison.csv`` are written, and ``comparison.png`` in the end; with several few_shot
    also ``few_shot.png``.

    Args:
        source: The name of a recipe, or the path of a TOML file.
        backbones: Names, or mappings with ``name`` and options. By default those of the config's
            ``[compare]`` table, else its backbone.
        heads: The same for heads.
        few_shot: Numbers of images of each class to train on; 0 or ``"all"`` for all. By default
            those of the config's ``[compare]`` table, else ``[run] few_shot``.
        seeds: The same for seeds; by default also ``[run] seed``.
        overrides: ``TABLE.KEY=VALUE`` each, applied to every cell.
        output: Folder for the runs and the results; made if it is missing.
        store: Where features are kept; by default the user's cache folder.
        registry: Where plugin names are looked up.
        one_thread_per_operation: See ``Trainer``; it holds for the whole process.
        say: Told of each cell; the warnings of its run are further lines of the text.
        status: Told what is going on, many times a second.

    Returns:
        The cells, those that failed among them, and McNemar's test of the best two. The notes tell
        of reporters that failed in the end.

    Raises:
        ConfigError: If the config is not valid, or no cell of the grid is.
        UnknownPluginError: If a name is not registered.
        DataError: If the data set cannot be loaded.
        RunFolderError: If the results cannot be written.
    """
    output = fetched(output, lambda name: is_summary(name.removeprefix("runs/")))
    watched = WatchedStore(None if store is None else store.folder)
    grid = plan(
        os.fspath(source),
        backbones,
        heads,
        few_shot,
        seeds,
        overrides,
        runs=output / "runs",
        store=watched,
        registry=registry if registry is not None else Registry(),
    )
    comparison = Comparison((), folder=output)
    for cell in run_grid(
        grid,
        watched,
        one_thread_per_operation=one_thread_per_operation,
        say=say or _silence,
        status=status or _silence,
    ):
        comparison = replace(comparison, cells=(*comparison.cells, cell))
        write(comparison, output, picture=False)
    (status or _silence)("drawing")
    comparison = _test_best_two(comparison)
    write(comparison, output)
    events = Events(grid.reporters())
    events.emit("on_comparison_end", comparison)
    if events.warnings:
        # First, as the last note leads on to the tests.
        comparison = replace(comparison, notes=(*events.warnings, *comparison.notes))
        write(comparison, output, picture=False)
    return comparison


def compare_runs(folders: Sequence[Path | str], *, output: Path | str | None = None) -> Comparison:
    """Put finished runs side by side, with McNemar's test of every pair.

    Args:
        folders: Two or more run folders.
        output: Folder to write ``comparison.json``, ``comparison.csv`` and ``comparison.png`` into;
            None to write nothing.

    Raises:
        ConfigError: If there are fewer than two folders, or one is given twice.
        RunFolderError: If one is not that of a finished run, or they were not tested on the same
            images with the same labels.
    """
    paths = [local_place(item) for item in folders]
    if len({path.resolve() for path in paths}) < max(2, len(paths)):
        raise ConfigError(
            f"Cannot compare {', '.join(map(str, paths)) or 'nothing'}. Allowed: two or more "
            f"different run folders."
        )
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    results = {name: load_run(path) for name, path in zip(names, paths, strict=True)}
    right = right_answers(results)
    comparison = Comparison(
        cells=tuple(_cell_of(name, result) for name, result in results.items()),
        pairs=paired_tests(right),
        differences=differing_settings([result.info.config for result in results.values()]),
        folder=None if output is None else local_place(output),
    )
    if comparison.folder is not None:
        write(comparison, comparison.folder)
    return comparison


def _test_best_two(comparison: Comparison) -> Comparison:
    cells = comparison.cells
    notes = (*_check_test_images(cells), *_small_classes(cells))
    rows = with_most_images(summarise(cells))
    best = best_two(rows)
    if best is None:
        return replace(comparison, notes=notes)
    first, second = best
    shared = [seed for seed in first.seeds if seed in second.seeds]
    if not shared:
        return replace(comparison, notes=notes)
    folders = {(cell.backbone, cell.head, cell.few_shot, cell.seed): cell.folder for cell in cells}
    results = {
        row.label: load_run(folders[row.backbone, row.head, row.few_shot, shared[0]] or "")
        for row in best
    }
    by = "validation accuracy" if chosen_by_validation(rows) else "test accuracy"
    both = []
    if len({cell.few_shot for cell in cells}) > 1:
        both.append(images_per_class(first.few_shot))
    if len({cell.seed for cell in cells}) > 1:
        both.append(f"seed {shared[0]}")
    which = f", both with {' and '.join(both)}" if both else ""
    notes = (*notes, f"The best two by {by}{which}:")
    return replace(comparison, pairs=paired_tests(right_answers(results)), notes=notes)


def _check_test_images(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Refuse cells of one seed with different data; return what to say of several seeds."""
    found: dict[int, set[str]] = {}
    labels: dict[int, set[str]] = {}
    for cell in cells:
        if cell.figures is not None:
            found.setdefault(cell.seed, set()).add(cell.figures.test_fingerprint)
            labels.setdefault(cell.seed, set()).add(cell.figures.labels_fingerprint)
    for seed, fingerprints in found.items():
        if len(fingerprints) > 1:
            raise RunFolderError(
                f"The cells of seed {seed} were not tested on the same images: the data set "
                f"changed while they ran. Give the same command again: it runs what no longer fits."
            )
        if len(labels[seed]) > 1:
            raise RunFolderError(
                f"The cells of seed {seed} did not have the same labels: the data set changed "
                f"while they ran. Give the same command again: it runs what no longer fits."
            )
    if len(set().union(*found.values())) > 1:
        return ("Each seed has test images of its own, as the data set is split by the seed.",)
    return ()


def _small_classes(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Say where a class has fewer training images than few_shot asks for."""
    fewest: dict[int, int] = {}
    for cell in cells:
        smallest = cell.figures.smallest_class if cell.figures is not None else None
        if smallest is not None and smallest < cell.few_shot:
            fewest[cell.few_shot] = min(smallest, fewest.get(cell.few_shot, smallest))
    return tuple(
        f"With {images_per_class(few_shot)}, a class that has fewer training images gives what it "
        f"has; the smallest has {smallest:,}."
        for few_shot, smallest in fewest.items()
    )


def _cell_of(name: str, result: RunResult) -> Cell:
    config = result.info.config
    tables = {key: config.get(key, {}) for key in ("backbone", "head", "run")}
    return Cell(
        backbone=str(tables["backbone"].get("name", "")),
        head=str(tables["head"].get("name", "")),
        seed=int(tables["run"].get("seed", 0)),
        name=name,
        digest=config_digest(config),
        folder=result.folder,
        figures=figures_of(result),
        reused=True,
        few_shot=int(tables["run"].get("few_shot", 0)),
    )


def _silence(line: str) -> None:
    """Tell nobody."""
