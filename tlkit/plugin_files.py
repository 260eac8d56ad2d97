"""Plugins in single files: a folder of them, without a package or an installation."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from tlkit.errors import ConfigError, PluginError
from tlkit.paths import expand_home
from tlkit.plugin import Plugin

VARIABLE = "TLKIT_PLUGIN_FOLDER"


def plugin_files() -> Sequence[Path]:
    """Return the files of the folder that ``TLKIT_PLUGIN_FOLDER`` names, sorted; none if unset.

    Those whose names begin with ``_`` are for the others to import.

    Raises:
        ConfigError: If there is no such folder, or it cannot be read.
    """
    given = os.environ.get(VARIABLE, "")
    if not given:
        return ()
    folder = expand_home(given).absolute()
    try:
        files = sorted(folder.iterdir())
    except OSError as err:
        raise ConfigError(
            f"{VARIABLE} is {given!r}, which cannot be read: {err.strerror}. Allowed: a folder "
            f"with plugins in files NAME.py; or unset it."
        ) from err
    return [path for path in files if path.suffix == ".py" and not path.name.startswith("_")]


def import_plugin_file(path: Path) -> ModuleType:
    """Import a file by its name; once in a process, so that its classes stay the same.

    Its folder comes last in ``sys.path``: a file there hides no module that is installed.

    Args:
        path: A ``.py`` file, absolute.

    Raises:
        PluginError: If its name is that of another module, or cannot be imported at all.
        Exception: What the file raises.
    """
    if not path.stem.isidentifier():
        raise PluginError(
            f"The name {path.name!r} cannot be imported. Allowed: letters, digits and '_', the "
            f"first no digit."
        )
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    importlib.invalidate_caches()  # the file may be younger than the last look into the folder
    place = _place_of(path.stem)
    if place is None or not path.samefile(place):
        where = f" ({place})" if place else ""
        raise PluginError(f"Its name is taken by the module '{path.stem}'{where}. Rename the file.")
    return importlib.import_module(path.stem)


def _place_of(module: str) -> str | None:
    """Return the file that a module is imported from; None where it has none."""
    try:
        spec = importlib.util.find_spec(module)
    except ValueError:  # loaded by something that leaves no spec
        return None
    return spec.origin if spec is not None and spec.has_location else None


def plugin_classes(module: ModuleType) -> Sequence[type[Plugin]]:
    """Return the plugin classes that a module defines and that can be made, in its order.

    A class without a name that others of the module are derived from is not one: it is their base.
    """
    found = [
        item
        for item in vars(module).values()
        if inspect.isclass(item)
        and issubclass(item, Plugin)
        and item.__module__ == module.__name__
        and not inspect.isabstract(item)
    ]
    return [item for item in found if item.name or not _is_base(item, found)]


def _is_base(plugin: type[Plugin], of: Sequence[type[Plugin]]) -> bool:
    return any(issubclass(other, plugin) for other in of if other is not plugin)
