"""Global state: what tlkit depends on in this process, kept while code of others runs."""

from __future__ import annotations

import json
import logging
import operator
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkit.paths import expand_home

# So many blocks of 624 numbers may be drawn before that is taken for a new seed.
MOST_BLOCKS = 2000
# A package that is imported may well silence warnings of its own; these concern all of them.
_ALL_WARNINGS = (Warning, UserWarning, RuntimeWarning)
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


@dataclass(frozen=True)
class _Item:
    """One part of the state.

    Attributes:
        what: Its name in warnings.
        read: Returns its value.
        write: Sets it to a value that was read.
        module: The module that holds it; it is left alone where that is not loaded.
        fresh: Its value right after that module is loaded.
        differs: Whether two values, before and after, are not the same.
    """

    what: str
    read: Callable[[], Any]
    write: Callable[[Any], None]
    module: str = "builtins"
    fresh: Callable[[], Any] = lambda: None
    differs: Callable[[Any, Any], bool] = operator.ne


class GlobalState:
    """The state at the time that the object is made.

    These are Keras' dtype policy, floatx and image data format; TensorFlow's eager mode and
    determinism; the seeds of Python and NumPy; NumPy's handling of floating-point errors; the root
    logger; filters for all warnings; the working directory; the handlers of signals. Nothing is
    imported to read them.
    """

    def __init__(self) -> None:
        self._before = {item.what: _read(item) for item in _ITEMS}

    def put_back(self) -> tuple[list[str], list[str]]:
        """Undo what was changed.

        Returns:
            What was changed, and what of it cannot be put back.
        """
        changed, lost = [], []
        for item in _ITEMS:
            after = _read(item)
            if after is _NOTHING:
                continue
            before = self._before[item.what]
            if before is _NOTHING:
                before = item.fresh()
            if not item.differs(before, after):
                continue
            changed.append(item.what)
            try:
                item.write(before)
            except (OSError, RuntimeError, TypeError, ValueError):
                lost.append(item.what)
        return changed, lost


_NOTHING = object()


def _read(item: _Item) -> Any:
    if item.module not in sys.modules:
        return _NOTHING
    try:
        return item.read()
    except AttributeError:  # its import has failed half-way
        return _NOTHING


def _loaded(module: str) -> Any:
    return sys.modules[module]


def _keras_file(key: str, default: str) -> str:
    """Return what the user's keras.json sets."""
    folder = expand_home(os.environ.get("KERAS_HOME") or "~/.keras")
    try:
        return str(json.loads((folder / "keras.json").read_text(encoding="utf-8"))[key])
    except (OSError, ValueError, KeyError, TypeError):
        return default


def _is_reseeded(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Return whether no drawing leads from one state of a Mersenne Twister to another.

    Args:
        before: Its 624 words and its position among them.
        after: The same, later.
    """
    if before == after:
        return False
    generator = random.Random()
    generator.setstate((3, before, None))
    for _ in range(MOST_BLOCKS):
        if generator.getstate()[1][:-1] == after[:-1]:
            return False
        generator.getrandbits(32 * 624)
    return True


def _numpy_words() -> tuple[int, ...]:
    # Any other generator than the default has been set on purpose; it is left alone.
    name, words, position, *_ = _loaded("numpy").random.get_state()
    return (*words.tolist(), position) if name == "MT19937" else ()


def _set_numpy_words(state: tuple[int, ...]) -> None:
    if state:
        _loaded("numpy").random.set_state(("MT19937", state[:-1], state[-1]))


def _numpy_is_reseeded(before: tuple[int, ...] | None, after: tuple[int, ...]) -> bool:
    return bool(before) and bool(after) and _is_reseeded(before or (), after)


def _working_folder() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:  # it was deleted
        return None


def _is_there(folder: str) -> bool:
    return Path(folder).is_dir()


def _read_logging() -> tuple[Any, ...]:
    root = logging.getLogger()
    return root.level, tuple(root.handlers), logging.root.manager.disable


def _write_logging(state: tuple[Any, ...]) -> None:
    root = logging.getLogger()
    root.setLevel(state[0])
    root.handlers[:] = state[1]
    logging.disable(state[2])


def _blanket_filters() -> tuple[Any, ...]:
    return tuple(item for item in warnings.filters if _is_blanket(item))


def _is_blanket(item: Any) -> bool:
    action, message, category, module, _ = item
    everywhere = message is module is None and category in _ALL_WARNINGS
    return everywhere and action in ("error", "ignore")


def _remove_blanket_filters(before: tuple[Any, ...]) -> None:
    kept = [item for item in warnings.filters if not _is_blanket(item) or item in before]
    warnings.filters[:] = kept  # type: ignore[index]
    with warnings.catch_warnings():  # tells Python that what it noted of the filters is old
        pass


def _read_signals() -> dict[str, Any]:
    return {name: signal.getsignal(getattr(signal, name)) for name in _SIGNALS if _has(name)}


def _has(name: str) -> bool:
    return hasattr(signal, name)  # Windows has no SIGHUP


def _write_signals(state: dict[str, Any]) -> None:
    for name, handler in state.items():
        signal.signal(getattr(signal, name), handler)


def _determinism() -> Any:
    # TensorFlow has no public name for reading and ending what is public to begin.
    return sys.modules["tensorflow.python.framework.config"]


def _set_determinism(value: bool) -> None:
    found = _determinism()
    (found.enable_op_determinism if value else found.disable_op_determinism)()


def _set_eager(value: bool) -> None:
    if value:
        _loaded("tensorflow").compat.v1.enable_eager_execution()


def _keras(what: str, fresh: Callable[[], str]) -> _Item:
    """Return one setting of ``keras.config``, read and written by its name."""
    key = what.replace(" ", "_")

    def read() -> str:
        value = getattr(_loaded("keras").config, key)()
        return str(getattr(value, "name", value))  # a policy is set by its name

    def write(value: str) -> None:
        getattr(_loaded("keras").config, f"set_{key}")(value)

    return _Item(f"Keras' {what}", read, write, "keras", fresh)


_ITEMS = (
    _keras("floatx", lambda: _keras_file("floatx", "float32")),
    _keras("dtype policy", lambda: _loaded("keras").config.floatx()),
    _keras("image data format", lambda: _keras_file("image_data_format", "channels_last")),
    _Item(
        "TensorFlow's eager execution",
        lambda: _loaded("tensorflow").executing_eagerly(),
        _set_eager,
        "tensorflow",
        lambda: True,
    ),
    _Item(
        "TensorFlow's run_functions_eagerly",
        lambda: _loaded("tensorflow").config.functions_run_eagerly(),
        lambda value: _loaded("tensorflow").config.run_functions_eagerly(value),
        "tensorflow",
        lambda: False,
    ),
    _Item(
        "TensorFlow's determinism",
        lambda: _determinism().is_op_determinism_enabled(),
        _set_determinism,
        "tensorflow.python.framework.config",
        lambda: False,
    ),
    _Item(
        "the seed of Python's random module",
        random.getstate,
        random.setstate,
        differs=lambda before, after: _is_reseeded(before[1], after[1]),
    ),
    _Item(
        "the seed of NumPy's global generator",
        _numpy_words,
        _set_numpy_words,
        "numpy.random",
        differs=_numpy_is_reseeded,
    ),
    _Item(
        "NumPy's handling of floating-point errors",
        lambda: _loaded("numpy").geterr(),
        lambda value: _loaded("numpy").seterr(**value),
        "numpy",
        lambda: {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"},
    ),
    _Item("the root logger", _read_logging, _write_logging),
    _Item(
        "the filters of all warnings",
        _blanket_filters,
        _remove_blanket_filters,
        differs=lambda before, after: bool(set(after) - set(before)),
    ),
    _Item(
        "the working directory",
        _working_folder,
        os.chdir,
        differs=lambda before, after: before != after and before is not None and _is_there(before),
    ),
    _Item("the handlers of signals", _read_signals, _write_signals),
)
