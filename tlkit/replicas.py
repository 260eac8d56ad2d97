"""Replicas: the devices and machines that share each batch of fine-tuning, by tf.distribute."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np

from tlkit.errors import ClusterError, ConfigError, WorkerLostError
from tlkit.runtime import held_back_stderr
from tlkit.text import printable
from tlkit.whole_batch_draws import Share
from tlkit.worker_cluster import VARIABLE, WorkerCluster, patience, wait_for_workers

Distribute = Literal["none", "mirrored", "multi_worker"]
HEARTBEAT_SECONDS = 10
_made: dict[WorkerCluster, Any] = {}


class Replicas:
    """Devices that each compute the gradient of their share of a batch.

    The weights are not mirrored variables of ``tf.distribute``, which would have to be made in its
    scope: those of a machine are on its first device, and other devices get them in each step.

    Attributes:
        workers: Number of processes.
        count: Number of devices of all processes.
        cluster: The machines; None for the devices of one process.
    """

    def __init__(self, strategy: Any, cluster: WorkerCluster | None = None) -> None:
        """Keep the ``tf.distribute.Strategy``, and the machines if there are several."""
        self._strategy, self.cluster = strategy, cluster
        self.count = int(strategy.num_replicas_in_sync)
        self.workers = 1 if cluster is None else len(cluster.addresses)
        self._local = self.count // self.workers

    @property
    def record(self) -> dict[str, str]:
        """What a run notes of them."""
        kind = "mirrored" if self.cluster is None else "multi_worker"
        return {"distribute": kind, "workers": str(self.workers), "devices": str(self.count)}

    def check_batch_size(self, batch_size: int) -> None:
        """Check that each device gets an image of each whole batch.

        Raises:
            ConfigError: If there are more devices.
        """
        if batch_size < self.count:
            raise ConfigError(
                f"A batch of {batch_size} images cannot be shared by {self.count} devices. Set "
                f"[workflow] batch_size to {self.count} or more, or use fewer devices."
            )

    @staticmethod
    def check_layers(model: Any) -> None:
        """Check that no layer computes with the other images of its batch, as each has a share.

        Args:
            model: What is trained, a ``keras.Model``.

        Raises:
            ConfigError: If there is one.
        """
        import keras

        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
                raise ConfigError(
                    f"[run] distribute cannot train the layer '{layer.name}': it normalises by the "
                    f"mean of the batch, and each device sees a share of it. Use a head without "
                    f"batch normalisation, such as 'dense' or 'mlp' with batch_norm = false."
                )

    def own_rows(self, count: int, batch_size: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return which of an epoch's rows this process works on, bool (count,).

        Args:
            count: Number of rows, in batches one after another.
            batch_size: Rows of a batch.
        """
        index = 0 if self.cluster is None else self.cluster.index
        first = np.arange(count) // batch_size * batch_size
        total, place = np.minimum(batch_size, count - first), np.arange(count) - first
        lowest, highest = index * self._local, (index + 1) * self._local
        begin = np.minimum(total * lowest // self.count, total - 1)
        end = np.maximum(total * highest // self.count, begin + 1)
        owned: np.ndarray[Any, np.dtype[np.bool_]] = (begin <= place) & (place < end)
        return owned

    def sum(self, compute: Callable[[Share, Any], Any], total: Any) -> Any:
        """Return the sum over all devices of what each computes; called while TensorFlow traces.

        Args:
            compute: From the rows of a device and their weight, 0.0 or 1.0, to a tensor. A device
                that has no row of a small last batch gets one with the weight 0.
            total: Number of rows of the batch.
        """
        import tensorflow as tf

        @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
        def run() -> Any:
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            first, last = total * number // self.count, total * (number + 1) // self.count
            begin = tf.minimum(first, total - 1)
            share = Share(begin, tf.maximum(last, begin + 1), total)
            return compute(share, tf.cast(last > first, tf.float32))

        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, self._strategy.run(run), axis=None)

    def gather(self, content: bytes) -> list[bytes]:
        """Return what each worker gave, in the order of their numbers."""
        assert self.cluster is not None
        lengths = np.zeros(self.workers, np.int64)
        lengths[self.cluster.index] = len(content)
        lengths = self._add(lengths)
        table = np.zeros((self.workers, -(-int(lengths.max()) // 8)), np.int64)
        padded = content.ljust(table.shape[1] * 8, b"\0")
        table[self.cluster.index] = np.frombuffer(padded, np.int64)
        table = self._add(table)
        return [row.tobytes()[:length] for row, length in zip(table, lengths, strict=True)]

    def from_chief(self, content: bytes) -> bytes:
        """Return what the chief gave.

        Args:
            content: That; of the other workers it is not used.
        """
        assert self.cluster is not None
        chief = self.cluster.is_chief
        length = int(self._add(np.array([len(content) if chief else 0], np.int64))[0])
        padded = content.ljust(-(-length // 8) * 8, b"\0") if chief else bytes(-(-length // 8) * 8)
        found: bytes = self._add(np.frombuffer(padded, np.int64)).tobytes()
        return found[:length]

    def _add(self, numbers: Any) -> Any:
        """Return the sum over the workers of int64 arrays of one shape."""
        import tensorflow as tf

        @tf.function(autograph=False)  # type: ignore[untyped-decorator]
        def add(numbers: Any) -> Any:
            def run() -> Any:
                number = tf.distribute.get_replica_context().replica_id_in_sync_group
                return numbers * tf.cast(number % self._local == 0, tf.int64)

            return self._strategy.reduce(
                tf.distribute.ReduceOp.SUM, self._strategy.run(run), axis=None
            )

        with self.telling_lost_workers():
            return add(tf.constant(numbers)).numpy()

    def check_equal(self, facts: Mapping[str, str]) -> None:
        """Check that all workers have the same facts.

        Args:
            facts: Texts by name.

        Raises:
            ClusterError: If they have not; it names what differs, and is the same everywhere.
        """
        if self.cluster is None:
            return
        found = [json.loads(item) for item in self.gather(json.dumps(dict(facts)).encode())]
        different = [
            f"{name} ({_shown(found[0].get(name))} at worker 0, {_shown(other.get(name))} at "
            f"worker {number})"
            for number, other in enumerate(found[1:], 1)
            for name in sorted({*found[0], *other})
            if found[0].get(name) != other.get(name)
        ]
        if different:
            more = f", and {len(different) - 8} more" if len(different) > 8 else ""
            raise ClusterError(
                f"The workers do not train the same: they differ in {'; '.join(different[:8])}"
                f"{more}. Give all of them the same config, data, weights and packages."
            )

    @contextmanager
    def telling_lost_workers(self) -> Iterator[None]:
        """Turn what TensorFlow raises in the block when a worker is gone into one error.

        Raises:
            WorkerLostError: In its place.
        """
        import tensorflow as tf

        lost = (
            tf.errors.UnavailableError,
            tf.errors.AbortedError,
            tf.errors.CancelledError,
            tf.errors.DeadlineExceededError,
        )
        try:
            yield
        except (*lost, tf.errors.InternalError) as err:
            collective = any(word in str(err) for word in ("ollective", "GRPC", "task:"))
            if self.cluster is None or not (isinstance(err, lost) or collective):
                raise
            others = [
                f"{number} at {address}"
                for number, address in enumerate(self.cluster.addresses)
                if number != self.cluster.index
            ]
            go_on = "go on with `tlkit resume RUN` at worker 0 and the first command at the others"
            raise WorkerLostError(
                f"Worker {self.cluster.index} lost another worker ({', '.join(others)}): it ended, "
                f"or its network did; its own output says why. Start all workers again, with the "
                f"same {VARIABLE}: {go_on}."
            ) from err


def _shown(value: str | None) -> str:
    """Return a setting or version as an error shows it, a digest by its beginning."""
    text = "not set" if value is None else printable(value)
    return text[:12] if len(text) == 64 else text[:80]


def mirrored() -> Replicas:
    """Return the GPUs of this machine; several logical processors where there is none.

    Raises:
        ConfigError: If there is one device only.
    """
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")
    devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    if len(devices) < 2:
        seen = "one GPU" if gpus else "no GPU"
        raise ConfigError(
            f"[run] distribute = 'mirrored' shares each batch among the GPUs of a machine, and "
            f"TensorFlow sees {seen} here: it would gain nothing. Set distribute = 'none'."
        )
    return Replicas(tf.distribute.MirroredStrategy(devices))


def multi_worker(cluster: WorkerCluster) -> Replicas:
    """Return the devices of all machines of a cluster, once all are there.

    TensorFlow joins a cluster once, at the start of a process; later runs of the process get the
    same one.

    Raises:
        ClusterError: If a worker does not come, or TensorFlow has computed something already.
    """
    if cluster not in _made:
        if _made:
            raise ClusterError(
                f"This process trains with other workers already. Start a new process for another "
                f"{VARIABLE}."
            )
        wait_for_workers(cluster, patience())
        _made[cluster] = _join(cluster)
    return Replicas(_made[cluster], cluster)


def _join(cluster: WorkerCluster) -> Any:
    import tensorflow as tf

    try:
        with held_back_stderr():
            return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as err:
        raise ClusterError(
            f"TensorFlow joins other workers only at the start of a process, and it has computed "
            f"something in this one. Start a new process, and begin it with this run.\n({err})"
        ) from err
    except tf.errors.OpError as err:
        raise ClusterError(
            f"Worker {cluster.index} reached the others, and could not join them: "
            f"{str(err).splitlines()[0]}. Start all workers again."
        ) from err


def generator_states(model: Any) -> list[Any]:
    """Return the Keras variables by which the layers of a model draw random numbers."""
    return [item for item in model.variables if item.name == "seed_generator_state"]
