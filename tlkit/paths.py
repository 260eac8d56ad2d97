"""Paths: what users write, as a path."""

from __future__ import annotations

from pathlib import Path


def expand_home(path: Path | str) -> Path:
    """Return a path with ``~`` and ``~USER`` replaced by a home folder.

    Where there is no such user, or no home, it stays as it is, as in a shell; ``Path.expanduser()``
    raises then.
    """
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError:
        return path
