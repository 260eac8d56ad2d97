"""The folder of Keras' downloads."""

from __future__ import annotations

import os
from pathlib import Path

from tlkit import TlkitError, expand_home


def keras_home() -> Path:
    """Return the folder that Keras keeps datasets and weights in: KERAS_HOME, or ~/.keras."""
    return expand_home(os.environ.get("KERAS_HOME") or "~/.keras")


def require_own_home(error: type[TlkitError]) -> None:
    """Refuse to download where Keras would use a folder that anyone can fill.

    Keras goes to ``/tmp/.keras`` where it cannot write to its own folder, and takes what it finds
    there; most files of MobileNet have no hash that would tell.

    Args:
        error: What to raise.

    Raises:
        TlkitError: If Keras' own folder is missing or read-only.
    """
    home = keras_home()
    # Keras makes its folder when it is imported, and looks at the home folder first.
    needed = [home] if os.environ.get("KERAS_HOME") else [home.parent, home]
    for folder in needed:
        if not os.access(folder, os.W_OK):
            raise error(
                f"Keras cannot write to {folder}, and would take its files from /tmp/.keras, which "
                f"other users of this machine may have filled. Set KERAS_HOME to a folder of your "
                f"own, or give the path of the file."
            )
