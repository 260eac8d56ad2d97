"""Registry: finds plugin packages, keeps names and classes, makes plugin objects."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points, version
from typing import Any

import pluggy

from tlkit import hookspecs
from tlkit.backbone import Backbone
from tlkit.dataset import DatasetSource
from tlkit.engine import Engine
from tlkit.errors import (
    ConfigError,
    DuplicatePluginError,
    PluginError,
    TlkitError,
    UnknownPluginError,
    did_you_mean,
)
from tlkit.head import Head
from tlkit.options import validate_options
from tlkit.plugin import Plugin
from tlkit.plugin_calls import kept_state, plugin_call, remember_origin
from tlkit.plugin_files import import_plugin_file, plugin_classes, plugin_files
from tlkit.reporter import Reporter
from tlkit.text import printable
from tlkit.workflow import Workflow

BUILTIN_MODULES = tuple(
    f"tlkit.builtin.{part}"
    for part in ("backbones", "heads", "reporters", "datasets", "workflows", "engines")
)
KINDS: Mapping[str, type[Plugin]] = {
    base.kind: base for base in (Backbone, Head, Reporter, DatasetSource, Workflow, Engine)
}
HOOK_BY_KIND = {kind: f"register_{kind}s" for kind in KINDS}


def check_kind(kind: str) -> str:
    """Return a kind of plugin that a user names.

    Raises:
        ConfigError: If there is no such kind.
    """
    if kind not in KINDS:
        raise ConfigError(
            f"Unknown kind {kind!r}.{did_you_mean(kind, KINDS)} Allowed: {', '.join(KINDS)}."
        )
    return kind


@dataclass(frozen=True)
class Registered:
    """One registered plugin class and the distribution, or file, that it came from."""

    kind: str
    name: str
    plugin: type[Plugin]
    distribution: str
    version: str


@dataclass(frozen=True)
class Broken:
    """An entry point, or a file of ``TLKIT_PLUGIN_FOLDER``, that could not be used, and why.

    Of a file ``entry_point`` and ``version`` are empty, and ``distribution`` is its path.
    """

    entry_point: str
    distribution: str
    version: str
    reason: str


class Registry:
    """The plugin classes that a run can name.

    The built-in plugins are always there. Packages are found through the entry-point group
    ``tlkit``, each registered as ``distribution:entry point``; one that fails is kept in ``broken``
    and does not stop the others. The environment variable ``TLKIT_PLUGINS``, a comma-separated
    list of distribution names, limits which packages are loaded; empty loads none. After them come
    the plugin classes in the files of the folder ``TLKIT_PLUGIN_FOLDER``.

    Attributes:
        broken: The entry points and files that could not be used.
        left_out: The distributions that ``TLKIT_PLUGINS`` does not name.
        warnings: One line for each package or constructor that changed the global state, such as
            the root logger: it is put back. One for each name in ``TLKIT_PLUGINS`` that is none.
    """

    def __init__(self, *, entry_points: bool = True) -> None:
        """Register the built-in plugins and, if asked, those of installed packages.

        Args:
            entry_points: False for a registry that ignores what is installed, and the folder.

        Raises:
            ConfigError: If there is no folder where ``TLKIT_PLUGIN_FOLDER`` says.
            DuplicatePluginError: If two packages register one name of one kind.
        """
        self.broken: list[Broken] = []
        self.left_out: list[str] = []
        self.warnings: list[str] = []
        self._plugins: dict[tuple[str, str], Registered] = {}
        for module in BUILTIN_MODULES:
            self._register_module(importlib.import_module(module), module, "tlkit")
        if entry_points:
            self._load_entry_points()
            self._load_files()

    def register(self, plugin: type[Plugin], *, distribution: str = "") -> type[Plugin]:
        """Register a class under its ``name``; returns it, so it also works as a decorator.

        Raises:
            PluginError: If the class is not a plugin, has no name, or its name is taken.
        """
        source = distribution or plugin.__module__
        kind = getattr(plugin, "kind", "")
        if not (inspect.isclass(plugin) and kind in KINDS and issubclass(plugin, KINDS[kind])):
            allowed = ", ".join(base.__name__ for base in KINDS.values())
            raise PluginError(
                f"Cannot register {plugin!r} from {source}: it is not a subclass of {allowed}."
            )
        if not isinstance(plugin.name, str):
            raise PluginError(
                f"Cannot register {plugin.__qualname__} from {source}: its name is "
                f"{plugin.name!r}; allowed: text."
            )
        if not plugin.name:
            raise PluginError(
                f"Cannot register {plugin.__qualname__} from {source}: it has no name. "
                f"Set `name = ...` in the class."
            )
        if inspect.isabstract(plugin):
            missing = ", ".join(sorted(getattr(plugin, "__abstractmethods__", ())))
            raise PluginError(
                f"Cannot register {kind} '{plugin.name}' from {source}: it does not define "
                f"{missing}."
            )
        taken = self._plugins.get((kind, plugin.name))
        if taken is not None and taken.plugin is not plugin:
            cure = (
                "Give the one in the file another name."
                if source.endswith(".py")
                else "Uninstall one, or set TLKIT_PLUGINS to the distributions that you want."
            )
            raise DuplicatePluginError(
                f"Two plugins register the {kind} '{plugin.name}': {taken.distribution} "
                f"({taken.plugin.__module__}) and {source} ({plugin.__module__}). {cure}"
            )
        self._plugins[kind, plugin.name] = Registered(
            kind, plugin.name, plugin, source, _version_of(source)
        )
        if distribution:
            remember_origin(plugin, distribution, _version_of(distribution))
        return plugin

    def list(self, kind: str | None = None) -> list[Registered]:
        """Return what is registered, sorted by kind and name."""
        found = [entry for entry in self._plugins.values() if kind in (None, entry.kind)]
        return sorted(found, key=lambda entry: (list(KINDS).index(entry.kind), entry.name))

    def get(self, kind: str, name: str) -> type[Plugin]:
        """Return the class registered under a name.

        Raises:
            UnknownPluginError: If there is none; the message lists what there is.
        """
        entry = self._plugins.get((kind, name))
        if entry is not None:
            return entry.plugin
        names = [entry.name for entry in self.list(kind)]
        if kind == "engine":
            names.insert(0, "auto")
        lines = [
            f"Unknown {kind} '{name}'.{did_you_mean(name, names)}",
            f"Available: {', '.join(names)}.",
            "From a package? pip install it. From a file? Set TLKIT_PLUGIN_FOLDER to its folder. "
            "Then see `tlkit plugins`.",
        ]
        lines += self.failures()
        if self.left_out:
            lines.append(f"TLKIT_PLUGINS leaves out: {', '.join(self.left_out)}.")
        raise UnknownPluginError("\n".join(lines))

    def failures(self) -> Sequence[str]:
        """Return a line for each package or file that could not be used, with the reason."""
        reasons = {item.distribution: item.reason for item in self.broken}
        return [f"{place} failed to load: {reason}" for place, reason in reasons.items()]

    def create(self, kind: str, name: str, /, where: str = "", **options: Any) -> Plugin:
        """Make a plugin object from a name and constructor keywords.

        Args:
            kind: The kind of plugin.
            name: Its registered name.
            where: Said in errors: where the options came from, such as a file.
            options: Constructor keywords, checked against its signature and type hints.

        Raises:
            UnknownPluginError: If the name is not registered.
            ConfigError: If an option is unknown or of the wrong type.
            PluginError: If the constructor raises anything but an error of tlkit.
        """
        plugin = self.get(kind, name)
        checked = validate_options(plugin, options, where=where or f"{kind} '{name}'")
        with plugin_call(plugin, "its constructor", self.warnings.append):
            return plugin(**checked)

    def engines(self) -> tuple[Sequence[Engine], Sequence[str]]:
        """Make every registered engine with its default options.

        Returns:
            The engines, and for each that cannot be made one line that says why.
        """
        made: list[Any] = []
        left_out = []
        for entry in self.list("engine"):
            try:
                with plugin_call(entry.plugin, "its constructor"):
                    made.append(entry.plugin())
            except TlkitError as err:
                left_out.append(f"The engine '{entry.name}' is left out. {err}")
        return made, left_out

    def _load_entry_points(self) -> None:
        found = sorted(
            entry_points(group="tlkit"), key=lambda point: (_distribution_of(point), point.name)
        )
        self._limit({_distribution_of(point) for point in found})
        for point in found:
            distribution = _distribution_of(point)
            if distribution in self.left_out:
                continue
            found_version = _version_of(distribution)
            broken = Broken(f"{point.name} = {point.value}", distribution, found_version, "")
            with self._loading(f"The package {distribution} {found_version}".strip(), broken):
                self._register_module(point.load(), f"{distribution}:{point.name}", distribution)

    def _load_files(self) -> None:
        for path in plugin_files():
            with self._loading(f"The file {path}", Broken("", str(path), "", "")):
                found = plugin_classes(import_plugin_file(path))
                staged = [plugin for plugin in found if not plugin.__name__.startswith("_")]
                if not staged:
                    allowed = ", ".join(base.__name__ for base in KINDS.values())
                    raise PluginError(
                        f"It defines no plugin: a class that subclasses {allowed} and writes its "
                        f"methods. Names of files that hold none begin with '_'."
                    )
                self._register_all(staged, str(path))

    @contextmanager
    def _loading(self, who: str, broken: Broken) -> Iterator[None]:
        """Load what others wrote: what fails is kept, and what it changes is put back."""
        try:
            # What it prints must not come between a command and its answer.
            with (
                redirect_stdout(sys.stderr),
                kept_state(f"{who}, when it was loaded,", self.warnings.append),
            ):
                yield
        except (DuplicatePluginError, KeyboardInterrupt):
            raise
        except PluginError as err:
            self.broken.append(replace(broken, reason=str(err)))
        except BaseException as err:  # sys.exit() too
            self.broken.append(replace(broken, reason=f"{type(err).__name__}: {err}"))

    def _limit(self, distributions: Set[str]) -> None:
        """Leave out what ``TLKIT_PLUGINS`` does not name; warn of names that are none."""
        limit = os.environ.get("TLKIT_PLUGINS")
        if limit is None:
            return
        installed = {_normalised(name): name for name in distributions}
        wanted = {_normalised(part): part.strip() for part in limit.split(",") if part.strip()}
        self.left_out = sorted(installed[name] for name in installed.keys() - wanted.keys())
        for name in sorted(wanted.keys() - installed.keys() - {"tlkit"}):
            self.warnings.append(
                f"TLKIT_PLUGINS names '{printable(wanted[name])}', but no installed distribution "
                f"of that name has plugins.{did_you_mean(name, installed)} Allowed: "
                f"{', '.join(sorted(distributions)) or 'none, as none is installed'}."
            )

    def _register_module(self, module: Any, plugin_name: str, distribution: str) -> None:
        # One manager for each module: pluggy only matches and checks hooks here, and its global
        # call order and name blocking must not let one package disturb another.
        manager = pluggy.PluginManager("tlkit")
        manager.add_hookspecs(hookspecs)
        manager.register(module, plugin_name)
        try:
            manager.check_pending()
        except pluggy.PluginValidationError as err:
            hooks = HOOK_BY_KIND.values()
            wrong = {name for name in vars(module) if name.startswith("regist")} - {*hooks}
            near = "".join(did_you_mean(name, hooks) for name in sorted(wrong))
            raise PluginError(f"{err}.{near} Allowed hooks: {', '.join(hooks)}.") from err
        if not manager.get_hookcallers(module):
            raise PluginError(
                f"It implements no tlkit hook. Mark functions with `@tlkit.hookimpl` and name them "
                f"as one of: {', '.join(HOOK_BY_KIND.values())}."
            )
        staged: list[tuple[str, type[Plugin]]] = []
        for kind, hook in HOOK_BY_KIND.items():
            getattr(manager.hook, hook)(register=_stage(kind, staged))
        for kind, plugin in staged:
            if getattr(plugin, "kind", None) != kind:
                raise PluginError(f"{HOOK_BY_KIND[kind]} received {plugin!r}, no {kind} class.")
        self._register_all([plugin for _, plugin in staged], distribution)

    def _register_all(self, plugins: Sequence[type[Plugin]], distribution: str) -> None:
        """Register classes of one distribution or file: all of them, or none where one is wrong."""
        before = dict(self._plugins)
        try:
            for plugin in plugins:
                self.register(plugin, distribution=distribution)
        except PluginError:
            self._plugins = before
            raise


def _stage(
    kind: str, staged: list[tuple[str, type[Plugin]]]
) -> Callable[[type[Plugin]], type[Plugin]]:
    def register(plugin: type[Plugin]) -> type[Plugin]:
        staged.append((kind, plugin))
        return plugin

    return register


def _normalised(distribution: str) -> str:
    """Return a distribution's name as pip compares it: My_Plugin is my-plugin (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution.strip()).lower()


def _distribution_of(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "unknown"


@functools.cache
def _version_of(distribution: str) -> str:
    try:
        return version(distribution)
    except Exception:  # a class registered from Python has no distribution
        return ""
