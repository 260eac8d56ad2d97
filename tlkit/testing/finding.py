"""Finding the plugins that `tlkit check` is asked for: by registered name, or in a file."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tlkit.errors import ConfigError, PluginError, UnknownPluginError, did_you_mean
from tlkit.options import accepts, allowed_options, validate_options
from tlkit.paths import expand_home
from tlkit.plugin import Plugin
from tlkit.plugin_files import plugin_classes
from tlkit.registry import KINDS, Registry, check_kind
from tlkit.runtime import require_tensorflow_backend


@dataclass(frozen=True)
class Found:
    """A plugin to check.

    Attributes:
        plugin: Its class.
        origin: The distribution or file that it is from.
        make: Makes a fresh object of it.
    """

    plugin: type[Plugin]
    origin: str
    make: Callable[[], Plugin]


def find(target: str, kind: str | None, options: Mapping[str, Any]) -> list[Found]:
    """Return the plugins that a target names.

    Args:
        target: A registered name; or the path of a ``.py`` file, for every plugin that is defined
            in it, with ``:Class`` behind it for one.
        kind: The kind that is meant; None for any.
        options: Constructor keywords. In a file with several plugins, each gets those it knows.

    Raises:
        TlkitError: If there is none, or an option is wrong.
    """
    if kind is not None:
        check_kind(kind)
    stem, is_file, name = target.partition(".py:")
    if is_file or target.endswith(".py"):
        return _in_file(f"{stem}.py" if is_file else target, name, kind, options)
    return _registered(target, kind, options)


def _registered(name: str, kind: str | None, options: Mapping[str, Any]) -> list[Found]:
    registry = Registry()
    entries = [entry for entry in registry.list(kind) if entry.name == name]
    if not entries:
        names = sorted({entry.name for entry in registry.list(kind)})
        file = "" if "." in name else f" In a file elsewhere? Give its path: tlkit check {name}.py"
        raise UnknownPluginError(
            f"Unknown {kind or 'plugin'} '{name}'.{did_you_mean(name, names)}\n"
            f"`tlkit plugins` lists what is registered, from packages and from the folder "
            f"TLKIT_PLUGIN_FOLDER.{file}" + "".join(f"\n{line}" for line in registry.failures())
        )
    if len(entries) > 1:
        kinds = ", ".join(entry.kind for entry in entries)
        raise ConfigError(f"'{name}' is the name of several: {kinds}. Say which: --kind KIND.")
    entry = entries[0]
    validate_options(entry.plugin, dict(options), where="--set")
    return [
        Found(
            entry.plugin,
            f"{entry.distribution} {entry.version}".strip(),
            lambda: registry.create(entry.kind, name, "--set", **options),
        )
    ]


def _in_file(file: str, name: str, kind: str | None, options: Mapping[str, Any]) -> list[Found]:
    module = _load(expand_home(file), file)
    classes = [
        item
        for item in plugin_classes(module)
        if item.kind in KINDS and kind in (None, item.kind) and name in ("", item.__name__)
    ]
    if not classes:
        what = name or (f"{kind} plugin" if kind else "plugin")
        raise PluginError(
            f"{file} defines no {what}. Allowed: a class that subclasses "
            f"{', '.join(base.__name__ for base in KINDS.values())} and writes its methods."
        )
    known = sorted({key for item in classes for key in allowed_options(item)})
    unknown = [key for key in options if key not in known]
    if unknown:
        raise ConfigError(
            f"Unknown key '{unknown[0]}'.{did_you_mean(unknown[0], known)}\nAllowed: "
            f"{', '.join(known) or 'none'}.\n(received: --set)"
        )
    return [_of_class(item, file, options) for item in classes]


def _of_class(plugin: type[Plugin], file: str, options: Mapping[str, Any]) -> Found:
    own = {key: value for key, value in options.items() if key in allowed_options(plugin)}
    for key, value in own.items():
        if not accepts(plugin, key, value):
            raise ConfigError(f"Wrong value for '{key}' of {plugin.__name__}: {value!r}.")
    return Found(plugin, file, lambda: plugin(**own))


def _load(path: Path, shown: str) -> Any:
    """Import a file under a name of its own."""
    name = path.stem
    if not path.is_file():
        raise PluginError(f"Cannot read {shown}: there is no such file.")
    # Before the file may import it: quietly, and as a run has it.
    require_tensorflow_backend()
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module
    # A file beside it may be imported by it, as when Python runs it.
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        with redirect_stdout(sys.stderr):
            spec.loader.exec_module(module)
    except BaseException as err:
        if before is not None:
            sys.modules[name] = before
        else:
            del sys.modules[name]
        if isinstance(err, KeyboardInterrupt):
            raise
        raise PluginError(f"{shown} cannot be imported: {type(err).__name__}: {err}.") from err
    return module


def read_options(assignments: Sequence[str]) -> dict[str, Any]:
    """Return the constructor keywords of ``KEY=VALUE`` each; values as in ``tlkit run --set``.

    Raises:
        ConfigError: If one has no ``=``.
    """
    from tlkit.config.reading import override

    tables: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, _ = assignment.partition("=")
        if not equals or not key.strip() or "." in key:
            raise ConfigError(
                f"Cannot use --set {assignment!r}. Allowed: KEY=VALUE, such as --set "
                f"weights=random: a keyword of the plugin's constructor."
            )
        override(tables, f"plugin.{assignment}")
    return cast(dict[str, Any], tables.get("plugin", {}))
