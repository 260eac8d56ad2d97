"""What tlkit asks of every plugin, whatever its kind."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from tlkit.backbone import Backbone
from tlkit.dataset import DatasetSource
from tlkit.global_state import GlobalState
from tlkit.head import Head
from tlkit.options import allowed_options, validate_options
from tlkit.plugin import Plugin
from tlkit.registry import KINDS, Registry
from tlkit.testing.suite import CheckFailed, Subject, check, expect

EVERY_KIND = tuple(KINDS)
# Imports one module or file, and says what of the heavy ones came with it.
_IMPORT = """
import importlib, importlib.util, sys
name, path = sys.argv[1:]
if path:
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
else:
    importlib.import_module(name)
print(*sorted({"tensorflow", "keras", "torch", "jax"} & set(sys.modules)))
"""
_PLAIN = (str, int, float, bool, type(None))


@check(*EVERY_KIND)
def has_a_name(subject: Subject) -> None:
    """It can be registered: a subclass of its kind with a name and nothing abstract."""
    plugin = type(subject.make())
    registry = Registry(entry_points=False)
    taken = {(entry.kind, entry.name): entry.plugin for entry in registry.list()}
    # A built-in plugin may be checked too.
    if taken.get((plugin.kind, plugin.name)) is not plugin:
        registry.register(plugin)


@check(*EVERY_KIND)
def says_what_it_is(subject: Subject) -> None:
    """Its class has a docstring of its own, whose first line `tlkit plugins` shows."""
    plugin = type(subject.make())
    expect(
        (plugin.__dict__.get("__doc__") or "").strip(),
        f"{plugin.__qualname__} has no docstring. Give it one line that says what it is.",
    )


@check(*EVERY_KIND)
def options_fit_their_types(subject: Subject) -> None:
    """Its options, defaults included, pass the check that a config's keys go through."""
    plugin = subject.make()
    validate_options(type(plugin), dict(plugin.options), where="the check")


@check(*EVERY_KIND, needs=("options-fit-their-types",))
def options_can_be_written(subject: Subject) -> None:
    """Its options are text, numbers, booleans, or lists and tables of them, as a config holds."""
    plugin = subject.make()
    for key, value in plugin.options.items():
        expect(
            _is_plain(value),
            f"The option {key} = {value!r} cannot stand in a config, so that a run with it cannot "
            f"be repeated from its folder. Take text or numbers, and make the object of them.",
        )


@check(*EVERY_KIND, needs=("options-fit-their-types",))
def is_made_again_from_its_options(subject: Subject) -> None:
    """Its class, called with the recorded options, makes one with the same options."""
    plugin = subject.make()
    before = dict(plugin.options)
    try:
        again = type(plugin)(**before)
    except Exception as err:
        raise CheckFailed(
            f"Making it again from its options, {before}, fails: {type(err).__name__}: {err}. "
            f"Take each option as a keyword under its own name."
        ) from err
    expect(
        again.options == before == plugin.options,
        f"Made again from its options, {before}, it has {again.options}.",
    )


@check(*EVERY_KIND)
def imports_heavy_libraries_late(subject: Subject) -> None:
    """Importing its module loads no TensorFlow, Keras, torch or JAX: `tlkit plugins` stays fast."""
    plugin = type(subject.make())
    path = inspect.getsourcefile(plugin)
    name = plugin.__module__
    if path is None:  # defined in a notebook or at a prompt
        return
    importable = name != "__main__" and _is_importable(name, path)
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT, name, "" if importable else path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    expect(not done.returncode, f"Importing it fails: {done.stderr.strip().splitlines()[-1:]}")
    found = done.stdout.split()
    expect(
        not found,
        f"Importing {path} loads {', '.join(found)}. Import it inside the methods that use it.",
    )


@check(*EVERY_KIND)
def leaves_the_process_alone(subject: Subject) -> None:
    """It changes no seed, dtype policy, working directory or other state of the process."""
    import keras  # noqa: F401 - so that its state is there before

    state = GlobalState()
    # Where it fails, other checks say why.
    with suppress(Exception):
        _main_work(subject.make())
    changed, _ = state.put_back()
    expect(not changed, f"It changed {', '.join(changed)}. That was put back.")


@check(*EVERY_KIND, needs=("options-fit-their-types",))
def refuses_unknown_options(subject: Subject) -> None:
    """A key that it does not know is refused, so that a misspelt one is found."""
    plugin = type(subject.make())
    takes_any = any(
        parameter.kind is inspect.Parameter.VAR_KEYWORD
        for parameter in inspect.signature(plugin.__init__).parameters.values()
    )
    expect(
        plugin.__init__ is object.__init__ or not takes_any,
        f"Its constructor takes **keywords, so that a misspelt key goes unnoticed. Name what it "
        f"takes; it names {', '.join(allowed_options(plugin)) or 'nothing'} now.",
    )


def _main_work(plugin: Plugin) -> None:
    if isinstance(plugin, Backbone):
        plugin.build()
    elif isinstance(plugin, Head):
        plugin.build((8,) if plugin.pooling else (2, 2, 8), 3)
    elif isinstance(plugin, DatasetSource):
        plugin.load(0)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return isinstance(value, _PLAIN)


def _is_importable(name: str, path: str) -> bool:
    """Return whether a name leads to a file, rather than to another or to none."""
    from importlib.util import find_spec

    try:
        spec = find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin).samefile(path)
