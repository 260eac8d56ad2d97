"""Machines: where the runs of one Trainer compute: TensorFlow here, devices, workers, a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tlkit.extraction import MAX_WORKERS
from tlkit.ray_cluster import RayCluster
from tlkit.ray_extraction import RayExtraction
from tlkit.replicas import Distribute, Replicas, mirrored, multi_worker
from tlkit.runtime import number_of_cores, require_tensorflow_backend
from tlkit.worker_cluster import WorkerCluster, read_cluster


class Machines:
    """What a run computes on.

    Attributes:
        replicas: Devices and machines that share each batch of fine-tuning; None for one device,
            and before ``start_tensorflow()``.
        extraction: What computes features in place of this process, while ``connected()``; None
            for nothing.
        threads_as_begun: Whether the process that began a run which is resumed started TensorFlow
            with one thread for each operation; None where that is not known.
    """

    def __init__(self, distribute: Distribute, cluster: RayCluster | None) -> None:
        """Keep them; nothing is started or connected.

        Args:
            distribute: What shares each batch of fine-tuning.
            cluster: What computes features; None for this machine.
        """
        self.replicas: Replicas | None = None
        self.extraction: RayExtraction | None = None
        self.threads_as_begun: bool | None = None
        self._distribute, self._cluster = distribute, cluster
        self._workers: WorkerCluster | None = None

    def read_workers(self) -> None:
        """Read which machines share the run, where several do.

        Raises:
            ConfigError: If the environment does not say it.
        """
        self._workers = read_cluster() if self._distribute == "multi_worker" else None

    @property
    def follows(self) -> bool:
        """Whether another worker keeps the run folder and reports."""
        return self._workers is not None and not self._workers.is_chief

    def start_tensorflow(self, *, one_thread_per_operation: bool) -> None:
        """Import TensorFlow as the run wants it, and join the other workers.

        Args:
            one_thread_per_operation: What is wanted; a run that is resumed has it as it began.
        """
        # Beyond that many cores the threads of the extraction alone would not use all of them.
        single = one_thread_per_operation and number_of_cores() <= MAX_WORKERS
        if self.threads_as_begun is not None:
            single = self.threads_as_begun
        if self._distribute != "multi_worker":
            require_tensorflow_backend(one_thread_per_operation=single)
            self.replicas = mirrored() if self._distribute == "mirrored" else None
            return
        workers = self._workers or read_cluster()

        def join() -> None:
            self.replicas = multi_worker(workers)

        require_tensorflow_backend(one_thread_per_operation=single, join=join)

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Keep what computes features elsewhere ready, and leave it at the end."""
        self.extraction = None if self._cluster is None else RayExtraction(self._cluster)
        try:
            yield
        finally:
            if self.extraction is not None:
                self.extraction.close()
