"""Ray worker: what runs on the nodes of a cluster to read images and to compute their features."""

from __future__ import annotations

import os
import pickle
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.engine import Engine
from tlkit.engine_choice import MAX_RELATIVE_ERROR, mismatch, named_forward
from tlkit.errors import ClusterError, PluginError, TlkitError
from tlkit.extraction import Pipeline
from tlkit.feature_filling import Wanted, checked_features
from tlkit.image_portions import with_content
from tlkit.plugin_calls import origin_of, plugin_call, remember_origin
from tlkit.resizing import make_resizer
from tlkit.runtime import keep_freed_memory, require_tensorflow_backend
from tlkit.shards import ShardedArray
from tlkit.shared_shards import SharedShards
from tlkit.test_time_augmentation import FixedView, resizer_of_view
from tlkit.travelling_model import unpacked_model

# What ends its process so often, images or the start of a worker, is given up.
_MOST_DEATHS = 4
# Reduced precision is rounded in other ways by other processors.
_MAX_ERROR_IN_LESS = 0.05


@dataclass(frozen=True)
class Work:
    """What every worker needs to know, by value.

    Attributes:
        wanted: The features; without what computes them.
        model: What ``packed_model()`` returned.
        engine: The pickled engine.
        engine_name: What the engine is called, and the distribution that it is from.
        image_size: The backbone's.
        interpolation: The backbone's.
        view: The fixed view to take of each image.
        place: Where shards are written.
        array: How they lie in the array of all features.
        mark: A file at that place, which every worker must see.
        versions: Those that a worker must have too.
        probe: The first images, as ``with_content()`` returned them.
        expected: Their features here, (N, ...).
        cpus: Processors of each worker.
        stand_in_seconds: For measurements only: wait so long for each image instead of computing;
            None to compute.
    """

    wanted: Wanted
    model: bytes
    engine: bytes
    engine_name: tuple[str, str]
    image_size: int
    interpolation: str
    view: FixedView
    place: SharedShards
    array: ShardedArray
    mark: str
    versions: Mapping[str, str]
    probe: Any
    expected: Any
    cpus: int
    stand_in_seconds: float | None = None


@dataclass(frozen=True)
class Problem:
    """What went wrong on a node; exceptions themselves would come back wrapped in Ray's.

    Attributes:
        kind: The name of the class of the error.
        text: The message.
    """

    kind: str
    text: str

    @classmethod
    def of(cls, err: BaseException, who: str) -> Problem:
        """Return an error in words that name the node."""
        if isinstance(err, TlkitError):
            return cls(type(err).__name__, str(err))
        return cls("ClusterError", f"{who}: {type(err).__name__}: {err}")


@dataclass(frozen=True)
class Report:
    """What became of one group of shards.

    Attributes:
        shards: (number, name of the object) of each that was written.
        images: How many images that were.
        seconds: Seconds of work by stage: ``read``, ``resize``, ``forward``, ``write``.
        worker: The node and the process, such as ``("a1b2c3d4", 4711)``.
        batch_size: Images in a batch.
        ended: When all of it was written, in seconds since the epoch, by the clock of the node.
        problem: What went wrong; None if nothing did.
    """

    shards: tuple[tuple[int, str], ...] = ()
    images: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    worker: tuple[str, int] = ("", 0)
    batch_size: int = 0
    ended: float = 0.0
    problem: Problem | None = None


def read_groups(row: Mapping[str, Any], desk: Any) -> Iterator[dict[str, Any]]:
    """Yield the images of some groups of shards, encoded pictures with their content.

    Args:
        row: ``first`` and ``count``: the numbers of the groups.
        desk: The actor that gives images, by the number of a group.
    """
    import ray

    for group in range(int(row["first"]), int(row["first"]) + int(row["count"])):
        begin = time.monotonic()
        try:
            given = ray.get(ray.get(desk.take.remote(group))[0])
            if not isinstance(given.portion, Problem):
                given.portion = with_content(given.portion, f" on node {node_name()}")
        except TlkitError as err:
            given.portion = Problem.of(err, "")
        given.seconds = time.monotonic() - begin
        yield {"group": group, "images": pickle.dumps(given, protocol=5)}


@dataclass
class Group:
    """Some shards that follow each other, with their images.

    Attributes:
        shards: Their numbers.
        portion: Their images, or what went wrong with these.
        seconds: How long it took to get them.
    """

    shards: range
    portion: Any
    seconds: float = 0.0


class FeatureWorker:
    """Holds the frozen backbone in a process of its own, and writes shards of features."""

    def __init__(self, work: Sequence[Any], desk: Any) -> None:
        """Prepare the backbone.

        What goes wrong is told in the answer to the first group: an actor that raises here is
        started again and again.

        Args:
            work: The reference to the ``Work``, in a list, as Ray would fetch it too early else.
            desk: The actor that counts what was begun and not ended.
        """
        import ray

        self._work: Work = ray.get(work[0])
        self._desk = desk
        self._worker = (node_name(), os.getpid())
        self._problem: Problem | None = None
        try:
            node = ray.get_runtime_context().get_node_id()
            # All workers of a node start at once.
            most = _MOST_DEATHS * max(1, (os.cpu_count() or 1) // self._work.cpus)
            self._begin(("start", node), "Workers", "while they started", most)
            self._cores = claim_cores(self._work.cpus)
            self._pipeline = self._prepare()
            self._desk.end.remote(("start", node))
        except Exception as err:
            who = f"A worker on node {node_name()} could not start"
            self._problem = Problem.of(err, who)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[bytes]]:
        """Compute and write some groups; return a ``Report`` of each, pickled."""
        reports = []
        for data in batch["images"]:
            group = pickle.loads(data)
            try:
                report = self._run(group)
            except Exception as err:
                who = f"{self._work.wanted.who} failed on node {node_name()}"
                report = Report(problem=Problem.of(err, who))
            reports.append(pickle.dumps(report))
        return {"report": reports}

    def _begin(self, what: Any, who: str, when: str, most: int) -> None:
        """Note that something begins that may end the process.

        Raises:
            ClusterError: If it did so too often.
        """
        import ray

        times = ray.get(self._desk.begin.remote(what))
        if times > most:
            raise ClusterError(
                f"{who} on node {node_name()} ended {when}, {times - 1} times. Is there memory "
                f"enough? The node's logs say more (/tmp/ray/session_latest/logs)."
            )

    def _run(self, group: Group) -> Report:
        problem = group.portion if isinstance(group.portion, Problem) else self._problem
        if problem is not None:
            return Report(worker=self._worker, problem=problem)
        work = self._work
        rows = work.array.rows(group.shards)
        images = f"at images {rows.start:,} to {rows.stop - 1:,}"
        self._begin(group.shards.start, "The worker", images, _MOST_DEATHS)
        if work.stand_in_seconds is None:
            assert self._pipeline is not None
            batches = list(self._pipeline.run(group.portion))
            profile = self._pipeline.take_profile()
            features = np.concatenate(batches) if len(batches) != 1 else batches[0]
            seconds, size = dict(profile.seconds), profile.batch_size
        else:
            time.sleep(work.stand_in_seconds * len(rows))
            features = np.full((len(rows), *work.wanted.shape[1:]), rows.start, np.float32)
            seconds, size = {"forward": work.stand_in_seconds * len(rows)}, 0
        if len(features) != len(rows):
            raise PluginError(
                f"{work.wanted.who} gave features of {len(features)} images instead of {len(rows)}."
            )
        features = checked_features(features, rows.start, work.wanted)
        begin = time.monotonic()
        written = []
        for shard in group.shards:
            part = work.array.rows(range(shard, shard + 1))
            data = features[part.start - rows.start : part.stop - rows.start]
            written.append((shard, work.place.write(shard, data)))
        seconds["read"] = seconds.get("read", 0.0) + group.seconds
        seconds["write"] = time.monotonic() - begin
        return Report(tuple(written), len(rows), seconds, self._worker, size, time.time())

    def _prepare(self) -> Pipeline | None:
        work = self._work
        if not work.place.holds(work.mark):
            raise ClusterError(
                f"Node {node_name()} does not see {work.place.location}, where features are to be "
                f"written. Give a place that all nodes reach: [features] store = "
                f"'s3://BUCKET/FOLDER', or a folder that they share."
            )
        if work.stand_in_seconds is not None:
            return None
        keep_freed_memory()
        require_tensorflow_backend(one_thread_per_operation=True)
        engine = self._engine()
        _check_versions(work.versions, versions(engine))
        import keras

        model = unpacked_model(
            work.model, (work.image_size, work.image_size, 3), work.wanted.shape[1:]
        )
        with plugin_call(engine, "compile()"):
            forward = named_forward(engine, engine.compile(model))
        layer = keras.layers.Resizing(
            work.image_size, work.image_size, interpolation=work.interpolation, antialias=True
        )
        resize = resizer_of_view(
            work.view, work.image_size, work.interpolation, make_resizer(layer)
        )
        pipeline = Pipeline(forward, resize, work.image_size)
        found = np.concatenate(list(pipeline.run(work.probe)))
        pipeline.take_profile()
        self._compare(engine, found)
        return pipeline

    def _engine(self) -> Engine:
        name, origin = self._work.engine_name
        try:
            engine: Engine = pickle.loads(self._work.engine)
        except Exception as err:
            raise PluginError(
                f"The engine '{name}' of {origin} cannot be made on node {node_name()}: "
                f"{type(err).__name__}: {err}. Install it on all nodes."
            ) from err
        if not engine.is_installed():
            raise PluginError(
                f"The engine '{name}' of {origin} needs {engine.module}, which is not installed "
                f"on node {node_name()}. pip install {engine.install or engine.module} there."
            )
        if origin_of(engine) != origin:
            remember_origin(type(engine), origin, "")
        return engine

    def _compare(self, engine: Engine, found: Any) -> None:
        expected = self._work.expected
        allowed = MAX_RELATIVE_ERROR if engine.precision == "float32" else _MAX_ERROR_IN_LESS
        reason = mismatch(expected, found)
        if not reason:
            scale = max(float(np.abs(expected).max()), 1e-30)
            error = float(np.abs(found - expected).max()) / scale
            reason = f"relative error {error:.2g}" if error > allowed else ""
        if reason:
            raise ClusterError(
                f"Node {node_name()} does not give the features of this machine for the first "
                f"{len(expected)} images: {reason}; allowed is {allowed:g}. Are its processor and "
                f"its libraries sound? Leave it out, or use the engine 'tensorflow'."
            )


def versions(engine: Engine) -> dict[str, str]:
    """Return the versions that decide what features are like."""
    import platform
    from importlib.metadata import version

    import keras
    import tensorflow as tf

    found = {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "tlkit": version("tlkit"),
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
    }
    return found | {engine.distribution or engine.module or engine.name: engine.version()}


def _check_versions(wanted: Mapping[str, str], found: Mapping[str, str]) -> None:
    differing = [
        f"{name} {found.get(name) or 'unknown'} instead of {version}"
        for name, version in wanted.items()
        if found.get(name) != version
    ]
    if differing:
        raise ClusterError(
            f"Node {node_name()} has {', '.join(differing)}. Features would differ: install the "
            f"same versions on all machines."
        )


def node_name() -> str:
    """Return the host of this node, and the beginning of the number that Ray gave it."""
    import socket

    import ray

    return f"{socket.gethostname()}/{ray.get_runtime_context().get_node_id()[:8]}"


def claim_cores(count: int) -> list[Any]:
    """Keep this process to so many processors, other ones than other workers of this machine.

    Engines start a thread for each processor that they may use. Where too few are free, as on
    nodes that say that they have more than there are, nothing is changed.

    Args:
        count: How many, 1 or more.

    Returns:
        What must be kept for as long as the process uses them.
    """
    from filelock import FileLock, Timeout

    if not hasattr(os, "sched_setaffinity"):
        return []
    folder = Path(tempfile.gettempdir()) / f"tlkit-cores-{os.getuid()}"
    taken: dict[int, FileLock] = {}
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for core in sorted(os.sched_getaffinity(0)):
            lock = FileLock(folder / str(core), thread_local=False)
            with suppress(Timeout):
                lock.acquire(timeout=0)
                taken[core] = lock
            if len(taken) == count:
                for thread in Path("/proc/self/task").iterdir():
                    with suppress(ProcessLookupError):
                        os.sched_setaffinity(int(thread.name), taken)
                return list(taken.values())
    except OSError:  # a folder of somebody else
        pass
    for lock in taken.values():
        lock.release()
    return []
