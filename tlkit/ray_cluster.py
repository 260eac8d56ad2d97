"""Ray cluster: which one, with how many workers; connecting to it and leaving it."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from tlkit.errors import ClusterError, ConfigError
from tlkit.extras import require_modules
from tlkit.runtime import held_back_stderr, number_of_cores

CONNECT_SECONDS = 10.0
# Beyond so many processors one worker gains nothing; see tlkit.extraction.MAX_WORKERS.
MOST_CPUS_PER_WORKER = 8


@dataclass(frozen=True)
class RayCluster:
    """Where features are computed on Ray.

    Attributes:
        address: Empty to start Ray on this machine; ``"auto"`` for the cluster that this machine
            is a node of; ``"host:port"`` of its head.
        workers: How many processes hold the backbone; 0 for as many as fit.
        cpus_per_worker: Processors of each; 0 for all of a node, at most 8.
    """

    address: str = ""
    workers: int = 0
    cpus_per_worker: int = 0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: If one is out of range.
        """
        if self.address.startswith("ray://"):
            raise ConfigError(
                f"[engine] ray.address = {self.address!r} is not allowed: images go to workers "
                f"from a node of the cluster. Run tlkit on one, such as its head, with "
                f"ray.address = 'auto'."
            )
        if not re.fullmatch(r"|auto|[A-Za-z0-9_.\[\]:-]+:\d{1,5}", self.address):
            raise ConfigError(
                f"[engine] ray.address = {self.address!r} is not allowed: '' to start Ray on this "
                f"machine, 'auto' for the cluster that this machine belongs to, or 'host:port'."
            )
        for key in ("workers", "cpus_per_worker"):
            if getattr(self, key) < 0:
                raise ConfigError(
                    f"[engine] ray.{key} = {getattr(self, key)} is not allowed: 1 or more, or 0 "
                    f"to leave it to tlkit."
                )

    @property
    def options(self) -> dict[str, Any]:
        """The settings that differ from the defaults, as a config holds them."""
        default = RayCluster()
        return {key: value for key, value in asdict(self).items() if value != getattr(default, key)}

    @property
    def label(self) -> str:
        """What it is called in messages."""
        return f"the Ray cluster {self.address}" if self.address else "Ray on this machine"


@dataclass(frozen=True)
class Layout:
    """How the work is shared out.

    Attributes:
        workers: Processes that hold the backbone.
        cpus: Processors of each.
    """

    workers: int
    cpus: int


class Connection:
    """A connection to a cluster, made when it is first needed."""

    def __init__(self, cluster: RayCluster) -> None:
        """Name the cluster.

        Raises:
            PluginError: If Ray is not installed.
        """
        _prepare_environment()
        _require(["ray"])
        self.cluster = cluster
        self._opened = False
        self._quiet = ExitStack()
        self._is_quiet = False

    def check(self) -> None:
        """Ask whether the head of the cluster answers, without connecting to it.

        Raises:
            ClusterError: If it does not.
        """
        _check_reachable(self.cluster.address)

    def ray(self) -> Any:
        """Return the module ``ray``, connected.

        Where the process is connected already, as within another Ray program, that connection is
        used and not closed.

        Raises:
            ClusterError: If the cluster cannot be reached.
        """
        _require(["ray.data"])
        import ray

        if not ray.is_initialized():
            address = self.cluster.address
            _check_reachable(address)
            settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
            if not address:
                settings |= {"num_cpus": number_of_cores(), "include_dashboard": False}
            try:
                with _own_handler_of_sigterm(), held_back_stderr():
                    ray.init(address=address or "local", **settings)
            except Exception as err:  # of many kinds, by what is wrong
                raise ClusterError(
                    f"Cannot connect to {self.cluster.label}: {_first_line(err)} {_advice(address)}"
                ) from err
            self._opened = True
        if not self._is_quiet:
            self._quiet.enter_context(quiet_ray())
            self._is_quiet = True
        return ray

    def close(self) -> None:
        """Leave the cluster, and stop it if it was started here."""
        if self._opened:
            import ray

            self._opened = False
            with suppress(Exception):
                ray.shutdown()
        self._quiet.close()
        self._is_quiet = False

    def layout(self) -> Layout:
        """Return how the work is shared out among the nodes that there are.

        Raises:
            ClusterError: If the cluster has no processors.
        """
        nodes = [
            int(node["Resources"].get("CPU", 0)) for node in self.ray().nodes() if node["Alive"]
        ]
        sizes = [cpus for cpus in nodes if cpus]
        if not sizes:
            raise ClusterError(
                f"{self.cluster.label[0].upper()}{self.cluster.label[1:]} has no processors to "
                f"compute on. Add a node to it: ray start --address=HEAD:PORT."
            )
        cluster = self.cluster
        cpus = cluster.cpus_per_worker
        if not cpus and cluster.workers:
            cpus = min(MOST_CPUS_PER_WORKER, max(1, sum(sizes) // cluster.workers), max(sizes))
        cpus = cpus or min(MOST_CPUS_PER_WORKER, *sizes)
        return Layout(cluster.workers or max(1, sum(size // cpus for size in sizes)), cpus)


@contextmanager
def quiet_ray() -> Iterator[None]:
    """Hold back what Ray prints about workers and data while it works for tlkit."""
    import ray._private.worker as worker

    logger = logging.getLogger("ray.data")
    level, logger.level = logger.level, logging.CRITICAL
    # The messages of raylets come on standard output, whatever log_to_driver says.
    shown = getattr(worker, "_worker_logs_enabled", None)
    if shown is not None:
        worker._worker_logs_enabled = False
    try:
        yield
    finally:
        logger.level = level
        if shown is not None:
            worker._worker_logs_enabled = shown


def _require(modules: list[str]) -> None:
    require_modules("[engine] distribute = 'ray' needs", modules, "'tlkit[ray]'")


@contextmanager
def _own_handler_of_sigterm() -> Iterator[None]:
    """Keep what this process does when it is asked to end; Ray would change it."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _prepare_environment() -> None:
    """Set what Ray reads when it is imported: no report of its use over the network, no chatter."""
    for key, value in {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_BACKEND_LOG_LEVEL": "fatal",
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }.items():
        os.environ.setdefault(key, value)


def _check_reachable(address: str) -> None:
    """Open a connection to a host, since Ray would try for minutes."""
    if address in ("", "auto"):
        return
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS):
            pass
    except (OSError, OverflowError) as err:
        raise ClusterError(
            f"Cannot reach the Ray cluster {address}: {getattr(err, 'strerror', None) or err}. "
            f"{_advice(address)}"
        ) from err


def _advice(address: str) -> str:
    if not address:
        return "Set [engine] distribute = 'none' to compute without Ray."
    start = "ray start --head"
    return (
        f"Start one with '{start}', give the address of one that runs ([engine] ray.address; of a "
        f"sweep --address), or do without: [engine] distribute = 'none', a sweep without --on ray."
    )


def _first_line(err: BaseException) -> str:
    text = str(err).strip()
    line = text.splitlines()[0].strip() if text else type(err).__name__
    return line if line.endswith(".") else f"{line}."
