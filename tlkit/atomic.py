"""Atomic writes: a file is there whole, or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What is left of a writer that was killed begins like this.
UNFINISHED = ".tlkit-unfinished-"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; it becomes ``path`` if the block succeeds.

    The suffix is kept, because writers such as ``keras.Model.save`` choose the format by it.

    Args:
        path: The file to make or replace; its folder must exist.

    Raises:
        OSError: If the file cannot be made or replaced.
    """
    temporary = path.with_name(f"{UNFINISHED}{secrets.token_hex(6)}{path.suffix[:40]}")
    try:
        # Not tempfile: its files can be read by their owner only, and stay so when renamed.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        # Without this, a loss of power could leave the new name on an empty file.
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_unfinished(folder: Path) -> None:
    """Delete what killed writers left in a folder and below; no other process may write there."""
    for path in folder.rglob(f"{UNFINISHED}*"):
        path.unlink(missing_ok=True)


def atomic_write_text(path: Path, text: str) -> None:
    r"""Write UTF-8 text; line ends stay as they are, lone surrogates become ``\udcNN``."""
    atomic_write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write bytes."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
