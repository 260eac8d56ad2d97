"""The loop that feeds made-up input to a reader, and what must hold for each input.

A reader gives a result or raises a TlkitError. Anything else fails, and so do an input that takes
more than ``SLOW`` seconds, one that takes more than ``MEMORY`` bytes of new memory, and one that
writes outside of the folder that it was given, starts a process or opens a connection.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from tlkit import TlkitError

SLOW = 5.0
MEMORY = 2**30
# Hypothesis remembers what it has tried; a new beginning now and then keeps that small.
CHUNK = 2_000


def number_of_examples() -> int:
    """Inputs for each reader: a few hundred, or ``$TLKIT_FUZZ_EXAMPLES``."""
    return int(os.environ.get("TLKIT_FUZZ_EXAMPLES") or 300)


def seconds_allowed() -> float:
    """Seconds for each reader in a long search, ``$TLKIT_FUZZ_SECONDS``."""
    return float(os.environ.get("TLKIT_FUZZ_SECONDS") or 600)


class TooSlow(BaseException):
    """No Exception, so that no reader takes it for a damaged file."""


@dataclass
class Search:
    """What came of the inputs of one reader."""

    name: str
    inputs: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        """Return a line for the terminal."""
        outcomes = ", ".join(f"{name} {count:,}" for name, count in self.outcomes.most_common())
        return (
            f"{self.name}: {self.inputs:,} inputs in {self.seconds:.0f} s, slowest "
            f"{self.slowest:.2f} s; {outcomes}"
        )


def search(name: str, inputs: SearchStrategy[Any], read: Callable[[Any], Any]) -> Search:
    """Feed inputs to a reader; raises at the first that breaks it, made as small as may be."""
    found = Search(name)
    begin = time.perf_counter()
    wanted, allowed = number_of_examples(), seconds_allowed()

    def attempt(value: Any) -> None:
        if time.perf_counter() - begin > allowed:
            return
        found.inputs += 1
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        with _at_most(SLOW), _WATCH.watching():
            try:
                read(value)
                outcome = "read"
            except TlkitError as err:
                outcome = type(err).__name__
                str(err).encode("utf-8", "backslashreplace")
        took = time.perf_counter() - start
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory)
        assert not _WATCH.seen, f"touched what it must not: {_WATCH.seen}"
        assert took <= SLOW, f"took {took:.1f} s"
        assert grown <= MEMORY, f"took {grown:,} bytes"
        found.slowest = max(found.slowest, took)
        found.outcomes[outcome] += 1

    for chunk in range(10**9):
        count = min(CHUNK, wanted - found.inputs)
        if count <= 0 or time.perf_counter() - begin > allowed:
            break
        settle = settings(
            max_examples=count,
            database=None,
            deadline=None,
            report_multiple_bugs=False,
            print_blob=False,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        before = found.inputs
        seed(chunk)(settle(given(inputs)(attempt)))()
        if found.inputs - before < count // 2:
            break  # there are no more inputs
    found.seconds = time.perf_counter() - begin
    return found


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise TooSlow(f"an input took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    # What does not come back to Python at all ends with the stacks of all threads.
    faulthandler.dump_traceback_later(12 * seconds, exit=True, file=sys.__stderr__)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


class _Watch:
    """Notes writing outside of the temporary folder, processes and connections."""

    PATHS = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod")
    NEVER = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect")

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._on = False
        self._inside = os.path.realpath(tempfile.gettempdir()) + os.sep
        sys.addaudithook(self._hook)

    @contextmanager
    def watching(self) -> Iterator[None]:
        self.seen.clear()
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = isinstance(mode, str) and set(mode) & set("wax+")
            writes = writes or (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR))
            if writes and not self._is_inside(path):
                self.seen.append(f"open {path!r}")
        elif event in self.PATHS and not self._is_inside(arguments[0]):
            self.seen.append(f"{event} {arguments[0]!r}")
        elif event in self.NEVER:
            self.seen.append(event)

    def _is_inside(self, path: Any) -> bool:
        if isinstance(path, int):
            return True  # a file that is open already
        text = os.fsdecode(path) if isinstance(path, bytes) else str(path)
        if text == os.devnull or "__pycache__" in text:
            return True
        # A relative path is within the empty folder that the test runs in.
        return (os.path.realpath(text) + os.sep).startswith(self._inside)


_WATCH = _Watch()


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Make a folder hold these files and no others."""
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in files:
            path.unlink()
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
