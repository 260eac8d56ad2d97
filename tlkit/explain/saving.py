"""Saving: a figure as PNG, whole or not at all."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from tlkit.atomic import atomic_path
from tlkit.errors import RunFolderError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; its folder is made if it is missing.

    Raises:
        RunFolderError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            figure.savefig(temporary, dpi=DPI, format="png", facecolor="white")
    except OSError as err:
        raise RunFolderError(
            f"Cannot write {path}: {err.strerror or err}. Choose another folder with --out DIR."
        ) from err
