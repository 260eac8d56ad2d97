"""Layers that plugins bring: whether a saved model that has some can be loaded by others."""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tlkit.errors import PluginError, TlkitError, UnsafeFileError
from tlkit.model_file import check_model_config
from tlkit.plugin import Plugin
from tlkit.registry import Registry

if TYPE_CHECKING:
    import keras


def layers_out_of_reach(model: keras.Model, plugins: Iterable[Plugin]) -> str:
    """Return what is to be done so that other processes can load a model; nothing if they can.

    Args:
        model: It need not be trained.
        plugins: Those that it was made by. A layer class of theirs is found by others if it stands
            at the top level of a module that the plugin names in ``modules``.

    Raises:
        PluginError: If not even this process could load it.
    """
    try:
        own = check_model_config(model.to_json())
    except (UnsafeFileError, NotImplementedError, TypeError) as err:
        raise PluginError(
            f"The model could be trained and not be loaded again: {err}. Put "
            f"@keras.saving.register_keras_serializable() above a layer class of your own; for a "
            f"keras.layers.Lambda take a layer that does the same, such as keras.layers.Rescaling."
        ) from err
    modules = {name for plugin in plugins for name in (type(plugin).__module__, *plugin.modules)}
    far = sorted(
        f"{item.__module__}.{item.__qualname__}"
        for item in own
        if "<locals>" in item.__qualname__ or not _is_below(item.__module__, modules)
    )
    if not far:
        return ""
    return (
        f"tlkit predict and other commands will not find {far[0]}, which the model is made of. Put "
        f"it at the top level of a module of its own, and name that module in the plugin: "
        f'modules = ("my_package.layers",).'
    )


def _is_below(module: str, names: Iterable[str]) -> bool:
    return module != "__main__" and any(f"{module}.".startswith(f"{name}.") for name in names)


def import_layers_of(config: Path) -> str:
    """Import the modules that the backbone and head of a run name, which register their layers.

    What is not there or cannot be imported is left to the check of the model file.

    Args:
        config: The run's ``config.toml``.

    Returns:
        What to do where one of the two is not registered; else nothing.
    """
    try:
        tables = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""
    registry = Registry()
    cure = ""
    for kind in ("backbone", "head"):
        table = tables.get(kind)
        name = table.get("name") if isinstance(table, dict) else None
        try:
            modules = registry.get(kind, str(name)).modules
        except TlkitError:
            cure += (
                f"\nIts {kind} '{name}' is not registered here: pip install its package, or set "
                f"TLKIT_PLUGIN_FOLDER to the folder of its file."
            )
            continue
        with suppress(ImportError):
            for module in modules:
                importlib.import_module(module)
    return cure
