"""Extras: packages that a part of tlkit needs and that are installed apart."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from tlkit.errors import PluginError


def require_modules(who: str, modules: Sequence[str], extra: str) -> None:
    """Import modules that an extra brings.

    Args:
        who: What needs them, with its verb: ``"tlkit serve needs"``.
        modules: Their names.
        extra: What ``pip install`` takes, such as ``"'tlkit[serve]'"``.

    Raises:
        PluginError: If one cannot be imported; the message says how to install it.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as err:
            raise PluginError(
                f"{who} {module}, which cannot be imported: {err}. pip install {extra}"
            ) from err
