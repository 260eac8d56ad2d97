"""OnRay: trials on a Ray cluster, ended early by ASHA; the study stays with this process."""

from __future__ import annotations

import json
import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tlkit.config.recipes import recipes
from tlkit.extras import require_modules
from tlkit.features import FeatureStore
from tlkit.paths import expand_home
from tlkit.ray_cluster import Connection, RayCluster
from tlkit.registry import Registry
from tlkit.shared_parts import SharedParts
from tlkit.sweep.board import Board
from tlkit.sweep.ray_results import EPOCH, VALUE, epoch_result, last_result
from tlkit.sweep.study import SweepStudy
from tlkit.sweep.trying import Follower, Outcome, Variations, run_one, try_values

# Trials end by themselves; ASHA's rungs need some end above that.
_MOST_EPOCHS = 100_000
_FACTOR = 4


def run_on_ray(
    variations: Variations,
    study: SweepStudy,
    shared: SharedParts,
    board: Board,
    address: str | None,
    done: Callable[[], None],
) -> None:
    """Run trials on a cluster until the study has enough.

    The first trial runs in this process, so that the features are extracted once, before any worker
    asks for them. Ray Tune runs the others, as many at one time as the cluster has processors, and
    ASHA ends those that are behind (L. Li et al. 2020, A system for massively parallel
    hyperparameter tuning, MLSys). Workers need the data set and the feature store under the same
    path or URL as this process.

    Args:
        variations: The config.
        study: Asked for values, and told of results; workers do not reach for its storage.
        shared: The data and the backbone, for the first trial.
        board: Told of each trial.
        address: Of the cluster; None for one on this machine.
        done: Called after each trial.

    Raises:
        PluginError: If ``tlkit[ray]`` is not installed.
        ClusterError: If the cluster cannot be reached.
    """
    require_modules("tlkit sweep --on ray needs", ["ray.tune"], "'tlkit[ray]'")
    connection = Connection(RayCluster(address or ""))
    # The first trial may take hours: a wrong address is to be told before it.
    connection.check()
    first = study.ask()
    if first is None:
        return
    run_one(variations, study, first, shared, board)
    done()
    board.status("starting Ray")
    try:
        with _environment():
            ray = connection.ray()
            _tune(ray, variations, study, board, done)
    finally:
        connection.close()


def _tune(
    ray: Any,
    variations: Variations,
    study: SweepStudy,
    board: Board,
    done: Callable[[], None],
) -> None:
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    from tlkit.sweep.ray_searcher import StudySearcher

    searcher = StudySearcher(study, board, done)
    mode = "max" if study.settings.larger_is_better else "min"
    job = _Job.of(variations, study.settings.metric)
    folder = Path(tempfile.mkdtemp(prefix="tlkit-sweep-"))
    resources: dict[str, float] = {"cpu": 1}
    if variations.trainer({}).workflow.fine_tunes and ray.cluster_resources().get("GPU", 0):
        resources["gpu"] = 1

    try:
        tune.Tuner(
            tune.with_resources(tune.with_parameters(_make_worker(), job=job), resources),
            tune_config=tune.TuneConfig(
                metric=VALUE,
                mode=mode,
                search_alg=searcher,
                scheduler=ASHAScheduler(
                    time_attr=EPOCH,
                    max_t=_MOST_EPOCHS,
                    grace_period=1,
                    reduction_factor=_FACTOR,
                ),
                num_samples=-1,  # the study says when there are enough
                reuse_actors=True,  # a worker keeps TensorFlow, the data and the backbone
            ),
            run_config=tune.RunConfig(name="sweep", storage_path=str(folder), verbose=0),
        ).fit()
    finally:
        searcher.give_up()
        shutil.rmtree(folder, ignore_errors=True)


class _Job:
    """What a worker needs to make variations, wherever it runs.

    Attributes:
        source: The name of a recipe; else empty.
        text: The config file; else empty.
        name: Its name.
        overrides: ``TABLE.KEY=VALUE`` each.
        store: Where features are kept.
        metric: What to measure.
        folder: The working folder, for relative paths.
        variables: Environment variables that say where data lies.
    """

    def __init__(
        self,
        source: str,
        text: str,
        overrides: tuple[str, ...],
        store: FeatureStore | None,
        metric: str,
    ) -> None:
        self.source, self.text, self.overrides = source, text, overrides
        self.store, self.metric = store, metric
        self.folder = str(Path.cwd())
        names = ("TLKIT_CACHE", "KERAS_HOME", "TLKIT_PLUGINS", "TLKIT_PLUGIN_FOLDER")
        self.variables = {key: os.environ[key] for key in names if key in os.environ}

    @classmethod
    def of(cls, variations: Variations, metric: str) -> _Job:
        """Return that of a config, which workers on other machines cannot read."""
        source, text = variations.source, ""
        if source not in recipes():
            source, text = "", expand_home(variations.source).read_text(encoding="utf-8")
        return cls(source, text, variations.overrides, variations.store, metric)

    def variations(self) -> Variations:
        """Return the config in a worker."""
        os.environ.update(self.variables)
        with suppress(OSError):  # of another machine
            os.chdir(self.folder)
        source = self.source
        if self.text:
            path = Path(tempfile.mkdtemp(prefix="tlkit-sweep-")) / "config.toml"
            path.write_text(self.text, encoding="utf-8")
            source = str(path)
        return Variations(source, self.overrides, self.store, Registry(), True)


# What a worker keeps from trial to trial.
_kept: tuple[Variations, SharedParts] | None = None


def _make_worker() -> type:
    """Return Ray's view of a worker: each step is an epoch of a trial, in a thread of its own.

    A function that reports to Ray Tune, the other way, cannot be stopped for sure where epochs are
    short, and a worker that hangs cannot take another trial.
    """
    from ray import tune

    class Worker(tune.Trainable):  # type: ignore[misc]
        def setup(self, config: dict[str, Any], job: _Job) -> None:
            self._job = job
            self._begin(config)

        def step(self) -> dict[str, Any]:
            self._trial.go_on.release()
            return self._trial.results.get()

        def reset_config(self, config: dict[str, Any]) -> bool:
            self._trial.end()
            self._begin(config)
            return True

        def cleanup(self) -> None:
            self._trial.end()

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """Keep nothing: a trial that is lost is tried again."""

        def load_checkpoint(self, checkpoint: Any) -> None:
            """Read nothing, for the same reason."""

        def _begin(self, config: Mapping[str, Any]) -> None:
            self._trial = _Stepwise(self._job, json.loads(config["values"]))

    return Worker


class _Stepwise:
    """A trial whose training waits after each epoch until it may go on.

    Attributes:
        results: One for each epoch, and the outcome.
        go_on: Released once for each result that is wanted.
    """

    def __init__(self, job: _Job, values: Mapping[str, Any]) -> None:
        self.results: queue.Queue[dict[str, Any]] = queue.Queue()
        self.go_on = threading.Semaphore(0)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, args=(job, values), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End the trial where it is, and wait for that."""
        self._stopped = True
        self.go_on.release()
        self._thread.join()

    def _run(self, job: _Job, values: Mapping[str, Any]) -> None:
        global _kept

        self.go_on.acquire()
        if self._stopped:
            return
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        try:
            if _kept is None:
                _kept = job.variations(), SharedParts()
            follower = Follower(job.metric, self._report, lambda: None, lambda text: None)
            self._follower = follower
            found = try_values(_kept[0], values, _kept[1], job.metric, follower)
        except Exception as err:  # such as a folder that this machine has not
            found = Outcome("failed", None, {}, 0, {}, f"{type(err).__name__}: {err}")
        self.results.put(last_result(found, job.metric))

    def _report(self, value: float, epoch: int) -> bool:
        self.results.put(epoch_result(value, epoch, self._follower.metrics))
        self.go_on.acquire()
        return self._stopped


@contextmanager
def _environment() -> Any:
    """Set what Ray Tune reads: no folders of its own, no logs, Ctrl-C for this process."""
    wanted = {
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_RESULT_BUFFER_LENGTH": "0",
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    before = {key: os.environ.get(key) for key in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
