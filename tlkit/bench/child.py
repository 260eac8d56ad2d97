"""A command as a child process: its time, its memory and what it printed."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tlkit.errors import TlkitError
from tlkit.text import printable

_LAST_LINES = 20
_LAUNCHER = Path(__file__).resolve().with_name("launcher.py")


@dataclass(frozen=True)
class Child:
    """A command that has ended well.

    Attributes:
        wall_seconds: From before its start to after its end.
        peak_memory_bytes: The most memory that it had in use (resident) at one time.
        stdout: What it printed.
        stderr: What it printed to standard error.
    """

    wall_seconds: float
    peak_memory_bytes: int
    stdout: str
    stderr: str


def run_child(command: Sequence[str], variables: Mapping[str, str] | None = None) -> Child:
    """Run a command to its end and measure it.

    Args:
        command: The program and its arguments.
        variables: Environment variables to add to those of this process.

    Raises:
        TlkitError: If it cannot be started or fails.
    """
    if sys.platform == "win32":
        raise TlkitError("tlkit bench does not run on Windows: it needs os.wait4.")
    with tempfile.TemporaryDirectory(prefix="tlkit-bench-", ignore_cleanup_errors=True) as name:
        result, out, err = (Path(name) / part for part in ("result", "stdout", "stderr"))
        with out.open("wb") as out_file, err.open("wb") as err_file:
            launcher = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_LAUNCHER), str(result), *command],
                stdin=subprocess.PIPE,
                stdout=out_file,
                stderr=err_file,
                env={**os.environ, **(variables or {})},
            )
            # Leaving the block closes its standard input, at which it ends the command.
            with launcher:
                launcher.wait()
        stdout, stderr = (
            path.read_text(encoding="utf-8", errors="backslashreplace") for path in (out, err)
        )
        if not result.is_file():
            raise TlkitError(f"Cannot run {as_typed(command)}: {printable(stderr.strip())}.")
        seconds, code, memory = json.loads(result.read_text(encoding="utf-8"))
    if code != 0:
        raise TlkitError(_failure(command, code, stdout, stderr))
    return Child(seconds, memory, stdout, stderr)


def as_typed(command: Sequence[str]) -> str:
    """Return a command as a shell takes it, made safe to show."""
    return printable(shlex.join(command))


def _failure(command: Sequence[str], code: int, stdout: str, stderr: str) -> str:
    ending = f"failed with exit code {code}"
    if code < 0:
        ending = f"was ended by signal {-code}" + (" (out of memory?)" if code == -9 else "")
    lines = [*stdout.splitlines(), *stderr.splitlines()][-_LAST_LINES:]
    shown = "".join(f"\n  {printable(line)}" for line in lines)
    return f"A measured command {ending}:\n{as_typed(command)}\nIts last lines:{shown}"
