"""``tlkit sweep``: many variations of a config, measured on the validation images."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from tlkit.errors import ConfigError
from tlkit.features import FeatureStore
from tlkit.registry import Registry
from tlkit.shared_parts import SharedParts
from tlkit.store_urls import local_only
from tlkit.sweep.board import Board
from tlkit.sweep.files import document, write, write_page
from tlkit.sweep.final_runs import run_best
from tlkit.sweep.importance import importance_of
from tlkit.sweep.records import METRICS, Importance, Settings, Sweep, Tested, Trial, best_of
from tlkit.sweep.searching import PRUNERS, SAMPLERS, check_settings, require_extra
from tlkit.sweep.space import Space
from tlkit.sweep.space_file import make_space, read_space
from tlkit.sweep.storage import choose_storage, shown
from tlkit.sweep.study import Identity, SweepStudy
from tlkit.sweep.trying import Variations, changes, run_trials
from tlkit.text import printable
from tlkit.trainer import Trainer

__all__ = [
    "METRICS",
    "PRUNERS",
    "SAMPLERS",
    "Importance",
    "Settings",
    "Sweep",
    "Tested",
    "Trial",
    "document",
    "run_sweep",
]
_SECONDS_BETWEEN = 10.0


def run_sweep(
    source: str | os.PathLike[str],
    space: Mapping[str, Any] | str | os.PathLike[str],
    *,
    trials: int = 50,
    metric: str = "val_accuracy",
    sampler: str = "tpe",
    pruner: str = "none",
    seed: int | None = None,
    overrides: Sequence[str] = (),
    output: Path | str = "sweep",
    storage: str | None = None,
    study: str | None = None,
    engine: Literal["optuna", "ray"] = "optuna",
    address: str | None = None,
    test: bool = True,
    store: FeatureStore | None = None,
    registry: Registry | None = None,
    one_thread_per_operation: bool = False,
    board: Board | None = None,
    say: Callable[[str], None] | None = None,
    status: Callable[[str], None] | None = None,
) -> Sweep:
    """Try many variations of a config, and keep the best.

    A trial trains one variation and measures it on the validation images. It makes no run folder;
    all trials share the data, the backbone and the stored features. The same call goes on with a
    sweep that was interrupted, and several processes with one storage work on one study. In the end
    the best config and the config itself are run and tested, once each.

    Args:
        source: The name of a recipe, or the path of a TOML file.
        space: The search space: the path of a TOML file, or the same as a mapping.
        trials: How many trials the study is to have in all.
        metric: ``"val_accuracy"`` or ``"val_loss"``, of the epoch whose weights are kept.
        sampler: ``"tpe"``, ``"random"``, ``"qmc"``, ``"grid"`` or ``"cma-es"``.
        pruner: ``"none"``, ``"median"``, ``"successive-halving"`` or ``"hyperband"``.
        seed: Of the sampler; by default that of the config.
        overrides: ``TABLE.KEY=VALUE`` each, applied to every trial.
        output: Folder for the results; made if it is missing.
        storage: Where the study is kept: ``sqlite:///PATH``, ``journal:PATH`` or
            ``postgresql://...``; by default ``TLKIT_SWEEP_STORAGE``, else SQLite in the output.
        study: Name of the study in the storage; by default that of the run.
        engine: ``"optuna"`` for trials in this process, ``"ray"`` for a cluster.
        address: Of the Ray cluster; None for one on this machine.
        test: Whether to run and test the best config and the config itself in the end.
        store: Where features are kept; by default as the config says.
        registry: Where plugin names are looked up.
        one_thread_per_operation: See ``Trainer``; it holds for the whole process.
        board: Told of each trial.
        say: Told of the two runs in the end.
        status: Told how they get on, many times a second.

    Returns:
        The trials, the best one, which keys matter, and the figures on the test set.

    Raises:
        ConfigError: If the config, the space or a setting is not valid, or the storage cannot be
            used, or holds a study of another sweep.
        UnknownPluginError: If a plugin is not registered.
        DataError: If the data set cannot be loaded.
        PluginError: If ``tlkit[sweep]`` is not installed.
        RunFolderError: If the results cannot be written.
    """
    begin = time.monotonic()
    output = local_only(output)
    if address is not None and engine != "ray":
        raise ConfigError(
            f"The address {printable(address)} of a Ray cluster is given, and trials run in this "
            f"process. Add --on ray (engine='ray'), or leave the address out."
        )
    wanted = make_space(space) if isinstance(space, Mapping) else read_space(os.fspath(space))
    variations = Variations(
        os.fspath(source),
        tuple(overrides),
        store,
        registry if registry is not None else Registry(),
        one_thread_per_operation,
    )
    require_extra()
    trainer = variations.check(wanted)
    # One store for all trials, so that what it found once is not looked for again.
    variations = replace(variations, store=trainer.store)
    settings = Settings(metric, sampler, pruner, trainer.seed if seed is None else seed, trials)
    check_settings(settings, wanted)
    url = choose_storage(storage, output)
    name = study or trainer.name
    opened = SweepStudy(url, name, wanted, settings)
    board = board if board is not None else Board(name, settings)
    shared = SharedParts()
    _open_study(opened, trainer, shared, wanted, board)
    result = Sweep(
        name=name,
        source=os.fspath(source),
        overrides=tuple(overrides),
        storage=shown(url),
        engine=engine,
        settings=settings,
        space=wanted.describe(),
        trials=opened.trials(),
        folder=output,
    )
    keeper = _Keeper(result, opened, variations, wanted, begin)
    try:
        _try_all(variations, opened, shared, board, engine, address, keeper.offer)
    except BaseException:
        keeper.keep()
        raise
    result = keeper.keep()
    if result.at_work:
        notes = (
            f"{result.at_work} trials are still at work in other processes; the one that ends "
            f"last tests the best.",
        )
        result = replace(result, notes=notes)
    elif (best := result.best) is not None:
        board.status("which keys matter")
        result = replace(result, importance=importance_of(opened, wanted, result.trials))
        if test:
            tell = (say or board.status, status or board.status)
            tested = run_best(variations, best.values, output, shared, *tell)
            result = replace(result, tested=tested)
    return keeper.finish(result)


def _open_study(
    opened: SweepStudy, trainer: Trainer, shared: SharedParts, wanted: Space, board: Board
) -> None:
    """Load the data, and open the study of it: with other data the same trials say other things."""
    board.status("starting TensorFlow")
    trainer.start_tensorflow()
    board.status("loading the data")
    if shared.run_data(trainer).on_test:
        raise ConfigError("A sweep needs validation images: the best trial is chosen by them.")
    config = trainer.config
    identity = Identity.of(config, shared.fingerprints(trainer), wanted, opened.settings)
    opened.open(identity, changes(config, list(wanted.parameters)))
    board.known(opened.trials())


def _try_all(
    variations: Variations,
    opened: SweepStudy,
    shared: SharedParts,
    board: Board,
    engine: Literal["optuna", "ray"],
    address: str | None,
    done: Callable[[], None],
) -> None:
    """Run trials, in this process or on a cluster, until the study has enough."""
    if engine == "ray":
        from tlkit.sweep.on_ray import run_on_ray

        run_on_ray(variations, opened, shared, board, address, done)
    else:
        for _ in run_trials(variations, opened, shared, board):
            done()


class _Keeper:
    """Writes what is known, now and then and in the end."""

    def __init__(
        self, sweep: Sweep, study: SweepStudy, variations: Variations, space: Space, begin: float
    ) -> None:
        self._sweep, self._study, self._variations = sweep, study, variations
        self._space, self._begin = space, begin
        self._trials_begin = self._written = time.monotonic()

    def offer(self) -> None:
        """Write, unless that was done a moment ago."""
        if time.monotonic() - self._written > _SECONDS_BETWEEN:
            self.keep()

    def keep(self) -> Sweep:
        """Write, and return what is known."""
        self._written = now = time.monotonic()
        trials = self._study.trials()
        seconds = {"trials": now - self._trials_begin, "total": now - self._begin}
        found = replace(
            self._sweep,
            trials=trials,
            at_work=self._study.at_work(),
            best=best_of(trials, self._sweep.settings),
            seconds=seconds,
        )
        self._write(found)
        return found

    def finish(self, sweep: Sweep) -> Sweep:
        """Write all, the page too."""
        seconds = {**sweep.seconds, "total": time.monotonic() - self._begin}
        sweep = replace(sweep, seconds=seconds)
        self._write(sweep)
        assert sweep.folder is not None
        page = write_page(sweep.folder)
        if page is not None:
            sweep = replace(sweep, report=page)
            self._write(sweep)
        return sweep

    def _write(self, sweep: Sweep) -> None:
        config = None
        if sweep.best is not None:
            config = self._variations.trainer(sweep.best.values, reporters=True).config
        write(sweep, self._space.text or _toml(self._space), config)


def _toml(space: Space) -> str:
    """Return a space that came from Python as TOML."""
    import tomli_w

    tables = {
        key: {name: value for name, value in table.items() if value not in (None, {})}
        for key, table in space.describe().items()
    }
    return tomli_w.dumps(tables)
