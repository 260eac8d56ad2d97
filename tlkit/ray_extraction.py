"""Ray extraction: shards of features, computed by the workers of a Ray cluster."""

from __future__ import annotations

import pickle
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit import errors
from tlkit.backbone import Backbone
from tlkit.engine import Engine
from tlkit.errors import ClusterError, PluginError, TlkitError
from tlkit.extraction import Pipeline
from tlkit.feature_filling import Wanted
from tlkit.image_portions import portion_of, with_content
from tlkit.plugin_calls import describe_plugin, origin_of
from tlkit.ray_cluster import Connection, RayCluster
from tlkit.ray_worker import FeatureWorker, Group, Problem, Report, Work, read_groups, versions
from tlkit.records import ImageSequence
from tlkit.shards import ShardedArray, neighbours
from tlkit.test_time_augmentation import FixedView
from tlkit.travelling_model import packed_model

if TYPE_CHECKING:
    import keras

# Fewer images than this at a time would leave a worker waiting for its next task.
LEAST_IMAGES = 128
# Ray keeps a record of each task that reads images.
MOST_READING_TASKS = 2048
PROBE_IMAGES = 16


@dataclass
class Tally:
    """What workers did.

    Attributes:
        images: Images that each worker computed, by node and process.
        seconds: Seconds of work by stage.
        shards: How many shards were computed, those that were computed again with them.
        batch_size: Images in a batch.
    """

    images: Counter[tuple[str, int]] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    shards: int = 0
    batch_size: int = 0

    def note(self, report: Report) -> None:
        """Add what a worker reported."""
        self.images[report.worker] += report.images
        for stage, seconds in report.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        self.shards += len(report.shards)
        self.batch_size = self.batch_size or report.batch_size


class RayExtraction:
    """Computes shards of features on a cluster."""

    def __init__(self, cluster: RayCluster) -> None:
        """Name the cluster; it is connected to when something is to be computed.

        Raises:
            PluginError: If Ray is not installed.
        """
        self.connection = Connection(cluster)
        self.tally = Tally()

    def close(self) -> None:
        """Leave the cluster."""
        self.connection.close()

    def take_tally(self) -> Tally:
        """Return what workers did since the last call."""
        tally, self.tally = self.tally, Tally()
        return tally

    def compute(
        self,
        work: Callable[[int], Work],
        images: ImageSequence,
        array: ShardedArray,
        shards: Sequence[int],
    ) -> Generator[tuple[int, str]]:
        """Compute some shards.

        Args:
            work: Returns what workers need to know, given how many processors each has.
            images: All images of the split.
            array: How shards lie in the array of all features.
            shards: The numbers of those to compute, in order.

        Yields:
            (number, name of the object) of each shard that was written, in any order. A worker or
            node that dies is replaced, and what it was at is computed again by others.

        Raises:
            TlkitError: Of the kind that was raised on a node.
            ClusterError: If the cluster cannot be reached, or gives up.
        """
        ray = self.connection.ray()
        groups = groups_of(shards, max(1, LEAST_IMAGES // array.rows_per_shard))
        layout = self.connection.layout()
        needed = work(layout.cpus)
        with told(self.connection.cluster.label):
            kept = ray.put(needed)
            with images_for_workers(ray, images, array, groups) as source:
                batches = self._dataset(groups, source, kept, layout.workers, layout.cpus)
                with closing(batches):
                    for data in (row for batch in batches for row in batch["report"]):
                        report: Report = pickle.loads(data)
                        if report.problem is not None:
                            raise error_of(report.problem)
                        self.tally.note(report)
                        yield from report.shards

    def _dataset(
        self, groups: Sequence[range], source: Any, work: Any, workers: int, cpus: int
    ) -> Generator[Any]:
        import ray.data

        each = -(-len(groups) // MOST_READING_TASKS)
        tasks = [
            {"first": first, "count": min(each, len(groups) - first)}
            for first in range(0, len(groups), each)
        ]
        with _settings_of_data(ray.data.DataContext.get_current()):
            # Reading waits for disks and networks, so that it takes no processor from the workers.
            dataset = (
                ray.data.from_items(tasks, override_num_blocks=len(tasks))
                .flat_map(
                    read_groups,
                    fn_args=(source,),
                    num_cpus=0,
                    compute=ray.data.TaskPoolStrategy(size=-(-workers // 2)),
                )
                .map_batches(
                    FeatureWorker,
                    fn_constructor_args=([work], source),
                    batch_size=1,
                    batch_format="numpy",
                    num_cpus=cpus,
                    compute=ray.data.ActorPoolStrategy(
                        size=min(workers, len(groups)), max_tasks_in_flight_per_actor=2
                    ),
                )
            )
        yield from dataset.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0)


@contextmanager
def _settings_of_data(context: Any) -> Iterator[None]:
    """Set how data sets are run that are made within; others of this process are not changed."""
    wanted = {
        "enable_progress_bars": False,
        # Groups of larger images come one by one, so that few are computed again after a death.
        "target_max_block_size": 2**20,
    }
    before = {key: getattr(context, key) for key in wanted}
    for key, value in wanted.items():
        setattr(context, key, value)
    try:
        yield
    finally:
        for key, value in before.items():
            setattr(context, key, value)


def work_of(
    wanted: Wanted,
    model: keras.Model,
    backbone: Backbone,
    view: FixedView,
    engine: Engine,
    pipeline: Pipeline,
    images: ImageSequence,
    **where: Any,
) -> Work:
    """Return what workers need to know, with the features of the first images to compare.

    Args:
        wanted: The features.
        model: From resized pixels to features.
        backbone: Says how images are resized.
        view: The fixed view to take of each image.
        engine: What compiles the model.
        pipeline: The same here.
        images: All images of the split.
        where: The other attributes of ``Work``.
    """
    from ray import cloudpickle

    probe = with_content(portion_of(images, range(min(PROBE_IMAGES, len(images)))), "")
    expected = np.concatenate(list(pipeline.run(probe)))
    pipeline.take_profile()
    try:
        pickled = cloudpickle.dumps(engine)
    except Exception as err:
        raise PluginError(
            f"{describe_plugin(engine)} cannot be sent to other machines: {type(err).__name__}: "
            f"{err}. Set [engine] distribute = 'none'."
        ) from err
    return Work(
        wanted=replace(wanted, compute=_not_here, compute_elsewhere=None),
        model=packed_model(model),
        engine=pickled,
        engine_name=(engine.name, origin_of(engine)),
        image_size=backbone.image_size,
        interpolation=backbone.interpolation,
        view=view,
        versions=versions(engine),
        probe=probe,
        expected=expected,
        **where,
    )


def _not_here(start: int) -> Generator[Any]:
    raise AssertionError("a worker computes groups of shards")


def groups_of(shards: Sequence[int], size: int) -> list[range]:
    """Return shards as groups of neighbours.

    Args:
        shards: Their numbers, in order.
        size: How many shards a group has at most.
    """
    return [
        range(first, min(first + size, part.stop))
        for part in neighbours(shards)
        for first in range(part.start, part.stop, size)
    ]


def error_of(problem: Problem) -> TlkitError:
    """Return the error that a node told of."""
    kind = getattr(errors, problem.kind, None)
    if problem.kind == "PictureError" or not isinstance(kind, type):
        kind = errors.DataError if problem.kind == "PictureError" else ClusterError
    found: TlkitError = kind(problem.text)
    return found


@contextmanager
def told(cluster: str) -> Iterator[None]:
    """Turn whatever Ray raises into one error of tlkit.

    Args:
        cluster: What the cluster is called.

    Raises:
        ClusterError: In place of it.
    """
    try:
        yield
    except (TlkitError, KeyboardInterrupt, GeneratorExit):
        raise
    except Exception as err:
        root: BaseException = err
        while root.__cause__ is not None:
            root = root.__cause__
        lines = [line.strip() for line in str(root).splitlines() if line.strip()]
        missing = next((line for line in lines if "ModuleNotFoundError" in line), "")
        reason = missing or (lines[0] if lines else type(root).__name__)
        advice = "Install tlkit, with what it needs, on all nodes. " if missing else ""
        raise ClusterError(
            f"{cluster[0].upper()}{cluster[1:]} could not finish: {reason} {advice}The shards that "
            f"it wrote are kept, and the next run goes on after them."
        ) from err


@contextmanager
def images_for_workers(
    ray: Any, images: ImageSequence, array: ShardedArray, groups: Sequence[range]
) -> Iterator[Any]:
    """Give images to workers when they ask for them, so that few are in memory at a time.

    Args:
        ray: The module, connected.
        images: All images of the split.
        array: How shards lie in the array of all features.
        groups: The groups of shards; workers ask by the place in this list.

    Yields:
        The actor to ask.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Beside this process: another node may be lost, and all workers ask at the desk.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    options = {"num_cpus": 0, "max_concurrency": 1000, "scheduling_strategy": here}
    desk = ray.remote(Desk).options(**options).remote()

    def answer(ticket: int, number: int) -> None:
        group = groups[number]
        try:
            portion = portion_of(images, array.rows(group))
        except Exception as err:
            portion = Problem.of(err, "Images could not be read")
        desk.give.remote(ticket, [ray.put(Group(group, portion))])

    def serve() -> None:
        with ThreadPoolExecutor(4) as pool:
            while True:
                try:
                    wanted = ray.get(desk.next.remote())
                except Exception:  # the connection is closed
                    return
                if wanted is None:
                    return
                pool.submit(answer, *wanted)

    thread = threading.Thread(target=serve, name="tlkit-images", daemon=True)
    thread.start()
    try:
        yield desk
    finally:
        try:
            desk.close.remote()
            thread.join(timeout=5)
            ray.kill(desk)
        except Exception:  # the cluster is gone
            pass


class Desk:
    """An actor between workers, which need images, and the process that has them."""

    def __init__(self) -> None:
        import asyncio

        self._wanted: Any = asyncio.Queue()
        self._waiting: dict[int, Any] = {}
        self._tickets = 0
        self._begun: Counter[Any] = Counter()

    async def begin(self, what: Any) -> int:
        """Return how often something was begun and not ended, this time included."""
        self._begun[what] += 1
        return self._begun[what]

    async def end(self, what: Any) -> None:
        """Note that it ended well."""
        del self._begun[what]

    async def take(self, number: int) -> Any:
        """Return, in a list, the reference to the images of a group."""
        import asyncio

        ticket, self._tickets = self._tickets, self._tickets + 1
        self._waiting[ticket] = asyncio.get_running_loop().create_future()
        await self._wanted.put((ticket, number))
        try:
            return await self._waiting[ticket]
        finally:
            del self._waiting[ticket]

    async def next(self) -> tuple[int, int] | None:
        """Return the next wish: (ticket, number of the group); None at the end."""
        wanted: tuple[int, int] | None = await self._wanted.get()
        return wanted

    async def give(self, ticket: int, reference: list[Any]) -> None:
        """Fulfil a wish."""
        if ticket in self._waiting and not self._waiting[ticket].done():
            self._waiting[ticket].set_result(reference)

    async def close(self) -> None:
        """Let the one who fulfils wishes go."""
        await self._wanted.put(None)
