"""Running a grid: cells that are finished are kept, the others run one after another."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from tlkit.atomic import atomic_write_text
from tlkit.compare.grid import Grid, Planned
from tlkit.compare.reading import CELL, finished_runs, load_figures
from tlkit.compare.records import Cell
from tlkit.errors import RunFolderError, TlkitError
from tlkit.feature_filling import Features, Progress, Wanted, Warn
from tlkit.features import FeatureStore
from tlkit.records import Phase, RunInfo, RunResult
from tlkit.reporter import Reporter
from tlkit.shared_parts import SharedParts
from tlkit.trainer import Trainer
from tlkit.unfinished import unfinished_run
from tlkit.wording import percent

CELL_SCHEMA_VERSION = 1
Say = Callable[[str], None]


class WatchedStore(FeatureStore):
    """A feature store that notes what was asked of it, and how long that took to make.

    Attributes:
        used: For each fingerprint the seconds of its extraction, whoever did it; None if unknown.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Choose the folder, as for any store."""
        super().__init__(folder)
        self.used: dict[str, float | None] = {}

    def get(
        self, wanted: Wanted, progress: Progress | None = None, warn: Warn | None = None
    ) -> tuple[Features, bool]:
        """Return features as the store does, and note them."""
        found = super().get(wanted, progress, warn)
        self.used[wanted.fingerprint] = self.seconds(wanted.fingerprint)
        return found


class Follower(Reporter):
    """Tells how a cell gets on, and keeps beside its run what its features took to make."""

    name: ClassVar[str] = "compare"

    def __init__(self, store: WatchedStore, title: str, status: Say) -> None:
        self.store, self.title, self.status = store, title, status
        self.folder: Path | None = None

    def on_run_begin(self, run: RunInfo, **kwargs: Any) -> None:
        """Note the folder, which the caller does not get from a run that fails."""
        self.folder = run.folder

    def on_extract_progress(
        self, split: str, done: int, total: int, seconds: float, **kwargs: Any
    ) -> None:
        """Tell how far the extraction is."""
        self.status(f"{self.title}: features of {split}, {done:,} of {total:,}")

    def on_epoch_end(
        self, phase: Phase, epoch: int, metrics: Mapping[str, float], seconds: float, **kwargs: Any
    ) -> None:
        """Tell how far the training is."""
        self.status(f"{self.title}: {phase.name}, epoch {epoch} of {phase.epochs}")

    def on_run_end(self, result: RunResult, **kwargs: Any) -> None:
        """Write the record of the features; the Trainer writes that of the run afterwards."""
        if result.folder is None:
            return
        features = [
            {"fingerprint": key, "seconds": value} for key, value in self.store.used.items()
        ]
        record = {"schema_version": CELL_SCHEMA_VERSION, "features": features}
        atomic_write_text(result.folder / CELL, json.dumps(record, indent=2))


def run_grid(
    grid: Grid,
    store: WatchedStore,
    *,
    one_thread_per_operation: bool,
    say: Say,
    status: Say,
    shared: SharedParts | None = None,
) -> Iterator[Cell]:
    """Run the cells that are not finished; yield each cell when it is known.

    A finished cell is one with the same resolved config, whose images, labels and class names had
    the fingerprints that the data set has now; a run of before labels had one is none. A cell that
    fails is yielded with its error, and the next one runs.

    Args:
        grid: What ``plan()`` returned.
        store: The store that the grid was planned with.
        one_thread_per_operation: How TensorFlow is started, where the workflow never fine-tunes.
        say: Told of each cell; the warnings of its run are further lines of the text.
        status: Told what is going on, many times a second.
        shared: What earlier runs of this process on the same data set have in common with these.

    Raises:
        DataError: If the data set cannot be loaded.
    """
    finished: dict[str, list[tuple[Path, Mapping[str, str]]]] = {}
    for digest, folder, fingerprints in finished_runs(grid.runs):
        finished.setdefault(digest, []).append((folder, fingerprints))
    shared = shared if shared is not None else SharedParts()
    total = len(grid.cells)

    def make(planned: Planned) -> Trainer:
        trainer = grid.trainer(planned)
        frozen = not trainer.workflow.fine_tunes
        trainer.one_thread_per_operation = one_thread_per_operation and frozen
        return trainer

    waiting = [cell for cell in grid.cells if cell.error is None and cell.digest not in finished]
    if waiting:
        status("starting TensorFlow")
        # Before the data set may import it in another way.
        make(waiting[0]).start_tensorflow()
    for number, planned in enumerate(grid.cells, 1):
        cell = Cell(
            planned.backbone,
            planned.head,
            planned.seed,
            planned.digest,
            few_shot=planned.few_shot,
        )
        title = f"[{number}/{total}] {cell.title}"
        warnings: list[str] = []
        if planned.error is not None:
            cell = replace(cell, error=_first_line(planned.error))
        else:
            cell = _reuse(cell, make(planned), finished.get(planned.digest, []), shared)
        if cell.figures is None and cell.error is None:
            status(f"{title}: starting")
            cell, warnings = _run(cell, make(planned), shared, Follower(store, title, status))
        say("\n".join([f"{title}: {_outcome(cell)}", *warnings]))
        yield cell


def _reuse(
    cell: Cell,
    trainer: Trainer,
    found: list[tuple[Path, Mapping[str, str]]],
    shared: SharedParts,
) -> Cell:
    for folder, fingerprints in reversed(found):
        now = shared.fingerprints(trainer)
        if any(fingerprints.get(key) != value for key, value in now.items()):
            continue
        try:
            return replace(cell, folder=folder, figures=load_figures(folder), reused=True)
        except RunFolderError:
            continue  # damaged: the cell runs again
    return cell


def _run(
    cell: Cell, trainer: Trainer, shared: SharedParts, follower: Follower
) -> tuple[Cell, list[str]]:
    """Run a cell; return what it reached, or why it failed, and its warnings, a line each."""
    # A data set that cannot be had is no matter of one cell.
    shared.lend(trainer)
    follower.store.used.clear()
    trainer.listeners = [follower]
    try:
        result = _run_or_resume(trainer)
        assert result.folder is not None
        warnings = [f"  Warning: {' '.join(text.split())}" for text in result.warnings]
        figures = load_figures(result.folder)
        return replace(cell, folder=result.folder, figures=figures), warnings
    except Exception as err:  # a third party's plugin may raise anything; the others go on
        text = str(err) if isinstance(err, TlkitError) else f"{type(err).__name__}: {err}"
        return replace(cell, folder=follower.folder, error=_first_line(text)), []


def _run_or_resume(trainer: Trainer) -> RunResult:
    assert trainer.runs is not None
    begun = unfinished_run(trainer.runs, trainer.config)
    if begun is not None:
        # One whose data has changed since, or that cannot be read, runs from the beginning.
        with suppress(RunFolderError):
            return trainer.resume(begun)
    return trainer.run()


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0] or "unknown error"


def _outcome(cell: Cell) -> str:
    if cell.error is not None:
        return f"failed: {cell.error}"
    assert cell.figures is not None
    figures = cell.figures
    text = percent(figures.accuracy)
    if cell.reused:
        return f"{text}, finished before"
    features = "stored" if figures.features_stored else f"{figures.features_seconds or 0:.1f} s"
    return f"{text}, features {features}, training {figures.training_seconds:.1f} s"
