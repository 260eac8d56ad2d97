"""Plugin calls: what a plugin's own code raises or changes is told with the plugin's name."""

from __future__ import annotations

import functools
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from importlib.metadata import version
from pathlib import Path
from types import FrameType

from tlkit.errors import PluginError, TlkitError
from tlkit.global_state import GlobalState
from tlkit.out_of_memory import is_out_of_memory
from tlkit.plugin import Plugin

Warn = Callable[[str], None]
Frames = Sequence[tuple[FrameType, int]]

_origins: weakref.WeakKeyDictionary[type[Plugin], tuple[str, str]] = weakref.WeakKeyDictionary()
_warn: ContextVar[Warn | None] = ContextVar("warn", default=None)


def remember_origin(plugin: type[Plugin], distribution: str, version: str) -> None:
    """Note which distribution a class is from, so that errors can name it."""
    _origins[plugin] = distribution, version


def describe_plugin(plugin: Plugin | type[Plugin]) -> str:
    """Return a plugin's kind, name and origin: ``"Backbone 'tiny' of tlkit-tiny 1.0"``.

    See ``origin_of()``.
    """
    kind = plugin.kind.capitalize() or "Plugin"
    return f"{kind} '{_name(plugin)}' of {origin_of(plugin)}"


def origin_of(plugin: Plugin | type[Plugin]) -> str:
    """Return the distribution that a plugin is from, with its version: ``"tlkit-tiny 1.0"``.

    For a class that no package registered it is ``"the module ..."``.
    """
    found = _class_of(plugin)
    if found in _origins:
        return " ".join(_origins[found]).strip()
    if _is_builtin(found.__module__):
        return _tlkit()
    return f"the module {found.__module__}"


@contextmanager
def plugin_warnings(warn: Warn) -> Iterator[None]:
    """Tell what plugins change, within this context, to a function that takes one line."""
    token = _warn.set(warn)
    try:
        yield
    finally:
        _warn.reset(token)


@contextmanager
def kept_state(who: str, warn: Warn | None = None) -> Iterator[None]:
    """Put back what code of others changes of the global state, and tell of it.

    Args:
        who: Whose code is called, and what of it: the beginning of a sentence.
        warn: Told what was changed, in one line; by default the function of ``plugin_warnings()``,
            and outside of that Python's ``warnings``.

    Raises:
        PluginError: If something that was changed cannot be put back.
    """
    state = GlobalState()
    try:
        yield
    finally:
        changed, lost = state.put_back()
        if lost:
            raise PluginError(
                f"{who} changed what cannot be put back: {', '.join(lost)}. Leave it out, and "
                f"start again."
            )
        if changed:
            message = f"{who} changed {', '.join(changed)}. That was put back."
            warn = warn if warn is not None else _warn.get()
            if warn is None:
                warnings.warn(message, RuntimeWarning, stacklevel=4)
            else:
                warn(message)


@contextmanager
def plugin_call(
    plugin: Plugin | type[Plugin],
    method: str,
    warn: Warn | None = None,
    *,
    keep_state: bool = True,
) -> Iterator[None]:
    """Wrap one call into a plugin's own code, and nothing else.

    What the plugin raises becomes a ``PluginError`` that names it. Errors of tlkit pass, and so do
    ``KeyboardInterrupt`` and what says that the memory is full. Where a plugin calls tlkit back, as
    a workflow does, and it is tlkit that raises, the plugin is not blamed: the exception passes
    with a note. What the plugin changes of the global state is put back, and told.

    Args:
        plugin: The plugin, or the class of one that is about to be made.
        method: What is called, such as ``"build()"``.
        warn: Told what the plugin changed; see ``kept_state()``.
        keep_state: Whether to look at the global state; not where several threads call.

    Raises:
        PluginError: If the plugin raises, or changes what cannot be put back.
    """
    who = describe_plugin(plugin)
    try:
        with kept_state(f"{who} in {method}", warn) if keep_state else nullcontext():
            yield
    except TlkitError:
        raise
    except (Exception, SystemExit) as err:
        # The first two frames are this one and that of the caller, within tlkit.
        frames = list(traceback.walk_tb(err.__traceback__))[2:]
        if is_out_of_memory(err):
            raise
        if not _is_of_plugin(frames, _class_of(plugin)):
            err.add_note(f"That was while the {who[0].lower()}{who[1:]} ran {method}.")
            raise
        raise PluginError(
            f"{who} failed in {method}: {type(err).__name__}: {err}"
            f"{_place(frames, _class_of(plugin))}"
        ) from err


def _class_of(plugin: Plugin | type[Plugin]) -> type[Plugin]:
    return plugin if isinstance(plugin, type) else type(plugin)


def _name(plugin: Plugin | type[Plugin]) -> str:
    return plugin.name or _class_of(plugin).__qualname__


@functools.cache
def _tlkit() -> str:
    return f"tlkit {version('tlkit')}"


def _is_builtin(module: str) -> bool:
    return module == "tlkit.builtin" or module.startswith("tlkit.builtin.")


def _is_of_plugin(frames: Frames, plugin: type[Plugin]) -> bool:
    """Return whether an exception is of the plugin's code, and not of tlkit's called back by it."""
    for frame, _ in reversed(frames):
        module = _module_of(frame)
        if _owns(plugin, module):
            return True
        if module.partition(".")[0] == "tlkit":
            return False
    return True


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _owns(plugin: type[Plugin], module: str) -> bool:
    if module.partition(".")[0] == "tlkit":
        return _is_builtin(module) and _is_builtin(plugin.__module__)
    packages = {base.__module__.partition(".")[0] for base in plugin.__mro__[:-1]}
    return module.partition(".")[0] in packages


def _place(frames: Frames, plugin: type[Plugin]) -> str:
    """Return the last line of the plugin's that was at work, in brackets; "" if none was."""
    places = [
        f" ({Path(frame.f_code.co_filename).name}, line {line})"
        for frame, line in frames
        if _owns(plugin, _module_of(frame))
    ]
    return places[-1] if places else ""
