"""Layers that plugins bring: whether a saved model that has some can be loaded by others."""

from __future__ import annotations

import importlib
import inspect
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.errors import PluginError, TlkitError, UnsafeFileError
from tlkit.model_file import check_model_config
from tlkit.plugin import Plugin
from tlkit.registry import Registry

if TYPE_CHECKING:
    import keras


def check_own_layers(model: keras.Model, plugins: Iterable[Plugin]) -> str:
    """Return what is to be done so that other processes can load a model; nothing if they can.

    Args:
        model: It need not be trained.
        plugins: Those that it was made by.

    Raises:
        PluginError: If not even this process could load it, or it would answer otherwise then.
    """
    own = own_layers(model)
    if own:
        _require_made_again(model, sorted(item.__qualname__ for item in own))
    return layers_out_of_reach(own, plugins)


def own_layers(model: keras.Model) -> set[Any]:
    """Return the classes and functions in a model that are neither Keras' nor KerasHub's.

    Raises:
        PluginError: If one is such that the saved model would be refused.
    """
    try:
        return check_model_config(model.to_json())
    except (UnsafeFileError, NotImplementedError, TypeError) as err:
        reason = " ".join(str(err).split()).rstrip(".")
        raise PluginError(
            f"The model could be trained and not be loaded again: {reason}. Put "
            f"@keras.saving.register_keras_serializable() above a layer class of your own; for a "
            f"keras.layers.Lambda take a layer that does the same, such as keras.layers.Rescaling."
        ) from err


def layers_out_of_reach(own: Iterable[Any], plugins: Iterable[Plugin]) -> str:
    """Return what is to be done about layers that other processes do not find; nothing of none.

    Args:
        own: What ``own_layers()`` returned. A class is found if it stands at the top level of a
            module that a plugin names in ``modules``.
        plugins: Those that brought them.
    """
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


def _require_made_again(model: keras.Model, names: Sequence[str]) -> None:
    """Make a model again from its config, with the same weights, and compare the answers."""
    import keras

    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    problem = ""
    try:
        again = keras.models.model_from_json(model.to_json())
        again.set_weights(model.get_weights())
        expected, found = (
            keras.ops.convert_to_numpy(item(pixels, training=False)) for item in (model, again)
        )
        if not np.allclose(found, expected, rtol=1e-4, atol=1e-6):
            problem = "it answers otherwise"
    except Exception as err:
        problem = " ".join(str(err).split())
    if problem:
        raise PluginError(
            f"The model could be trained and would be another one when it is loaded. Does "
            f"get_config() of {' and '.join(names)} name every argument of the constructor? Made "
            f"again from its config: {problem[:300]}"
        )


def forgotten_arguments(model: keras.Model) -> str:
    """Return which arguments the config of a plugin's own layer lacks, in words; nothing if none.

    With the default values such a model answers as before when it is loaded, with others not.
    """
    import keras

    for layer in _layers(model):
        kind = type(layer)
        makes_itself = kind.from_config.__func__ is not keras.layers.Layer.from_config.__func__
        if kind.__module__.startswith(("keras.", "keras_hub.")) or makes_itself:
            continue
        parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        wanted = {item.name for item in parameters if item.kind not in variadic}
        if missing := sorted(wanted - {*layer.get_config()}):
            return (
                f"get_config() of {kind.__qualname__} lacks {', '.join(missing)}, so that with "
                f"other values than the defaults the loaded model is another one."
            )
    return ""


def _layers(model: Any) -> Iterator[Any]:
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from _layers(layer)


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
            if registry.left_out:
                cure += f" TLKIT_PLUGINS leaves out: {', '.join(registry.left_out)}."
            continue
        with suppress(ImportError):
            for module in modules:
                importlib.import_module(module)
    return cure
