"""Worker cluster: which machines train together, as TF_CONFIG says, and the wait for them."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tlkit.errors import ClusterError
from tlkit.text import printable

VARIABLE = "TF_CONFIG"
PATIENCE = "TLKIT_WORKER_PATIENCE"
# Seconds that a worker waits for the others to start.
DEFAULT_PATIENCE = 120.0
_MOST_BYTES = 65_536
_ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")
_EXAMPLE = (
    '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, '
    '"task": {"type": "worker", "index": 0}}'
)


@dataclass(frozen=True)
class WorkerCluster:
    """The machines that train together, and which of them this process is.

    Attributes:
        addresses: ``host:port`` of each worker, in the order of their numbers.
        index: The number of this worker, from 0; worker 0 is the chief.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this worker owns the run folder and reports."""
        return self.index == 0


def read_cluster(environment: Mapping[str, str] = os.environ) -> WorkerCluster:
    """Return the cluster that the environment variable TF_CONFIG describes.

    Args:
        environment: Environment variables.

    Raises:
        ClusterError: If it is not set, or describes none of two or more workers.
    """
    text = environment.get(VARIABLE, "")
    if not text:
        raise _wrong(f"{VARIABLE} is not set.")
    try:
        found = json.loads(text)
        cluster, task = found["cluster"], found["task"]
        workers, kind, index = cluster["worker"], task["type"], task["index"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _wrong(f"{VARIABLE} is {printable(text[:300])}.") from None
    if set(cluster) != {"worker"} or kind != "worker":
        raise _wrong(f"{VARIABLE} has jobs or a task of another type than 'worker'.")
    addresses = workers if isinstance(workers, list) else []
    bad = [item for item in addresses if not (isinstance(item, str) and _is_address(item))]
    if bad or len(addresses) < 2 or len(set(addresses)) < len(addresses):
        raise _wrong(
            f"{VARIABLE} lists the workers {printable(str(workers)[:300])}; allowed: two or more "
            f"different addresses, each host:port."
        )
    if type(index) is not int or not 0 <= index < len(addresses):
        raise _wrong(
            f"{VARIABLE} gives this process the index {printable(str(index)[:80])}; allowed: 0 to "
            f"{len(addresses) - 1}, another one on each machine."
        )
    return WorkerCluster(tuple(addresses), index)


def _is_address(text: str) -> bool:
    match = _ADDRESS.fullmatch(text)
    return match is not None and 0 < int(match["port"]) < 65_536


def _wrong(received: str) -> ClusterError:
    return ClusterError(
        f"[run] distribute = 'multi_worker' needs the workers in the environment variable "
        f"{VARIABLE}: {received} Set it on each machine, with its own index, such as\n"
        f"  {VARIABLE}='{_EXAMPLE}'\n"
        f"To train on this machine alone set distribute = 'none'; for a run that goes on, in the "
        f"config.toml of its folder."
    )


def patience(environment: Mapping[str, str] = os.environ) -> float:
    """Return how many seconds a worker waits for the others to start.

    Raises:
        ClusterError: If the environment variable that says it holds no number above 0.
    """
    text = environment.get(PATIENCE, str(DEFAULT_PATIENCE))
    with suppress(ValueError):
        if 0 < (seconds := float(text)) < 1e6:
            return seconds
    raise ClusterError(
        f"{PATIENCE} = {printable(text[:80])} is not allowed: seconds, above 0 and below 1000000."
    )


def wait_for_workers(cluster: WorkerCluster, seconds: float) -> None:
    """Wait until each worker has reached each other one.

    TensorFlow waits for its peers without an end, and cannot be interrupted then, so that a wrong
    address would show as silence.

    Args:
        cluster: The workers. The port of this one is taken, and free again afterwards.
        seconds: How long to wait at most.

    Raises:
        ClusterError: If the port of this worker is taken, a worker does not come, or another
            cluster answers at its address.
    """
    own = cluster.addresses[cluster.index]
    try:
        server = _listen(own)
    except OSError as err:
        raise ClusterError(
            f"Worker {cluster.index} cannot listen at {own}: {err.strerror or err}. Is another "
            f"process at that port, such as a worker of an earlier run? End it, or name another "
            f"port in {VARIABLE} of all workers."
        ) from err
    meeting = _Meeting(cluster, server)
    try:
        meeting.hold(time.monotonic() + seconds, seconds)
    finally:
        meeting.close()


class _Meeting:
    """Workers that tell each other who they are."""

    def __init__(self, cluster: WorkerCluster, server: socket.socket) -> None:
        self._cluster, self._server = cluster, server
        self._came: set[int] = set()
        self._problem = ""
        self._hello = json.dumps([list(cluster.addresses), cluster.index]).encode() + b"\n"
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._welcome, daemon=True)
        self._thread.start()

    def hold(self, deadline: float, seconds: float) -> None:
        others = set(range(len(self._cluster.addresses))) - {self._cluster.index}
        reached: set[int] = set()
        while not (reached >= others and self._came >= others):
            for number in sorted(others - reached):
                if self._call(number):
                    reached.add(number)
            if self._problem:
                raise ClusterError(self._problem)
            if time.monotonic() > deadline:
                missing = sorted(others - (reached & self._came))
                names = ", ".join(f"{i} at {self._cluster.addresses[i]}" for i in missing)
                raise ClusterError(
                    f"Worker {self._cluster.index} of {len(self._cluster.addresses)} waited "
                    f"{seconds:g} seconds for worker {names}. Was the same command started there, "
                    f"with its own index in {VARIABLE}? Can each machine reach the others' ports? "
                    f"{PATIENCE}=SECONDS waits longer."
                )
            self._closed.wait(0.1)

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        self._server.close()

    def _call(self, number: int) -> bool:
        host, port = _split(self._cluster.addresses[number])
        try:
            with socket.create_connection((host, port), timeout=2) as connection:
                connection.sendall(self._hello)
                return self._check(_read_line(connection), number) is not None
        except OSError:
            return False

    def _welcome(self) -> None:
        self._server.settimeout(0.1)
        while not self._closed.is_set():
            try:
                connection, _ = self._server.accept()
            except OSError:
                continue
            with connection, suppress(OSError):
                connection.settimeout(2)
                number = self._check(_read_line(connection), None)
                connection.sendall(self._hello)
                if number is not None:
                    self._came.add(number)

    def _check(self, line: bytes, expected: int | None) -> int | None:
        """Return who sent a line; None if that is no worker of this cluster."""
        try:
            addresses, index = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            return None
        own = self._cluster
        if addresses != list(own.addresses) or type(index) is not int:
            self._problem = (
                f"Worker {own.index} met a worker whose {VARIABLE} lists other machines: "
                f"{printable(str(addresses)[:300])}, and here {', '.join(own.addresses)}. Give all "
                f"workers the same list."
            )
            return None
        if index == own.index or (expected is not None and index != expected):
            self._problem = (
                f"Two workers have the index {index}: each needs its own in {VARIABLE}, 0 to "
                f"{len(own.addresses) - 1}."
            )
            return None
        return index


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _listen(address: str) -> socket.socket:
    host, port = _split(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # All addresses of the machine, as TensorFlow does: behind a router its own differs.
        server.bind(("", port))
        server.listen()
    except OSError:
        server.close()
        raise
    return server


def _read_line(connection: Any) -> bytes:
    found = b""
    while not found.endswith(b"\n") and len(found) < _MOST_BYTES:
        part = connection.recv(4096)
        if not part:
            break
        found += part
    return found
