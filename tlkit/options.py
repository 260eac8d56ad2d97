"""Checking a plugin's options against the signature and type hints of its constructor."""

from __future__ import annotations

import inspect
import json
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tlkit.errors import ConfigError, did_you_mean
from tlkit.plugin import Plugin

if TYPE_CHECKING:
    from pydantic import ValidationError


def allowed_options(plugin: type[Plugin]) -> dict[str, inspect.Parameter]:
    """Return the constructor's keywords by name."""
    if plugin.__init__ is object.__init__:
        return {}
    parameters = list(inspect.signature(plugin.__init__).parameters.values())[1:]
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {item.name: item for item in parameters if item.kind not in variadic}


def type_hints(plugin: type[Plugin]) -> dict[str, Any]:
    """Return the constructor's type hints by name.

    Those with names that only type checkers import are left out: numpy's, where a plugin imports it
    late. What is given for them is not checked here.
    """
    if plugin.__init__ is object.__init__:
        return {}
    found: dict[str, Any] = {}
    for name, hint in inspect.get_annotations(plugin.__init__).items():
        holder = types.SimpleNamespace(__annotations__={name: hint})
        with suppress(NameError, AttributeError):
            found |= typing.get_type_hints(holder, vars(sys.modules[plugin.__init__.__module__]))
    return found


def option_descriptions(plugin: type[Plugin]) -> dict[str, str]:
    """Return what docstrings say of each option, on one line each.

    The options of a dataclass are told among its class's attributes, others by the constructor; a
    class's words come before those of its bases.
    """
    # Only errors and schemas want it.
    import docstring_parser

    told = {}
    for base in reversed(plugin.__mro__):
        for text in (base.__doc__, getattr(vars(base).get("__init__"), "__doc__", None)):
            for item in docstring_parser.parse(text or "").params:
                words = " ".join((item.description or "").split())
                told[item.arg_name] = words.replace("``", "`")
    return told


def validate_options(
    plugin: type[Plugin], options: dict[str, Any], *, where: str
) -> dict[str, Any]:
    """Check options without converting text to numbers or the like.

    Args:
        plugin: The class that will receive the options.
        options: Keys and values, as read from TOML or given in Python.
        where: Where they came from; said in errors.

    Returns:
        The options, lists turned to tuples where the type hint asks for it.

    Raises:
        ConfigError: For an unknown key, a missing one or a wrong type.
    """
    from pydantic import ValidationError

    allowed = allowed_options(plugin)
    hints = type_hints(plugin)
    takes_any = takes_any_keyword(plugin)
    for key in options:
        if key not in allowed and not takes_any:
            listing = ", ".join(name for name in allowed if _is_written(hints.get(name))) or "none"
            raise ConfigError(
                f"Unknown key '{key}' for {plugin.kind} '{plugin.name}'."
                f"{did_you_mean(key, allowed)}\nAllowed keys: {listing}.\n(received: {where})"
            )
    model = _model_of(allowed, hints)
    try:
        text = json.dumps(options)
    except (TypeError, ValueError):
        text = None  # Python objects, such as arrays: checked as they are
    try:
        if text is None:
            checked = model.model_validate(options, strict=True)
        else:
            checked = model.model_validate_json(text, strict=True)
    except ValidationError as err:
        raise _wrong_option(plugin, options, hints, where, err) from err
    return {key: getattr(checked, key) for key in options}


def _model_of(allowed: Mapping[str, inspect.Parameter], hints: Mapping[str, Any]) -> Any:
    """Return a pydantic model of the options, which allows others too."""
    from pydantic import ConfigDict, create_model

    fields: dict[str, Any] = {
        name: (
            hints.get(name, Any),
            ... if parameter.default is inspect.Parameter.empty else parameter.default,
        )
        for name, parameter in allowed.items()
    }
    return create_model(
        "Options",
        __config__=ConfigDict(extra="allow", arbitrary_types_allowed=True, protected_namespaces=()),
        **fields,
    )


def _wrong_option(
    plugin: type[Plugin],
    options: Mapping[str, Any],
    hints: Mapping[str, Any],
    where: str,
    err: ValidationError,
) -> ConfigError:
    problem = err.errors()[0]
    key = ".".join(str(part) for part in problem["loc"][:1]) or "?"
    allowed = describe_type(hints.get(key))
    told = option_descriptions(plugin).get(key, "")
    meaning = f"\n{key}: {told}" if told else ""
    if problem["type"] == "missing":
        return ConfigError(
            f"Missing key '{key}' for {plugin.kind} '{plugin.name}': {allowed}.{meaning}\n"
            f"(received: {where})"
        )
    if (listed := as_list(hints.get(key), options.get(key))) is not None:
        meaning += f"\nAs a list: {key} = {listed}"
    return ConfigError(
        f"Wrong value for key '{key}' of {plugin.kind} '{plugin.name}': received "
        f"{options.get(key)!r}; allowed: {allowed}.{meaning}\n(received: {where})"
    )


def accepts(plugin: type[Plugin], key: str, value: Any) -> bool:
    """Return whether a plugin has an option of this name that takes this value."""
    if key not in allowed_options(plugin):
        return False
    return accepts_value(type_hints(plugin).get(key, Any), value)


def accepts_value(hint: Any, value: Any) -> bool:
    """Return whether a value, as TOML has it, is of a type."""
    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(hint).validate_json(json.dumps(value), strict=True)
    except (TypeError, ValueError, ValidationError):
        return False
    return True


def _is_written(hint: Any) -> bool:
    """Return whether TOML can hold some value of a type; of what has no hint, anything."""
    of = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(_is_written(part) for part in of if part is not type(None))
    return not isinstance(hint, type) or hint.__module__ in ("builtins", "pathlib")


def takes_any_keyword(plugin: type[Plugin]) -> bool:
    """Return whether the constructor has ``**kwargs``."""
    if plugin.__init__ is object.__init__:
        return False
    parameters = inspect.signature(plugin.__init__).parameters.values()
    return any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters)


def as_list(hint: Any, value: Any) -> str | None:
    """Return how a value is written where a list of such values is wanted; None if it is not."""
    origin, of = typing.get_origin(hint), typing.get_args(hint)
    wanted = origin in (list, tuple, Sequence) and not isinstance(value, (list, dict, tuple))
    if not wanted or not accepts_value(of[0], value):
        return None
    return json.dumps([value])


_WORDS = {str: "text in quotes", int: "a whole number", float: "a number", bool: "true or false"}


def describe_type(hint: Any) -> str:
    """Return a type hint in words: what a key takes, such as ``"a whole number or 'all'"``."""
    origin, of = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(repr(value) for value in of)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe_type(part) for part in of if part is not type(None))
    if origin in (list, tuple, Sequence):
        return f"a list, each {describe_type(of[0])}"
    if origin in (dict, Mapping):
        return f"a table, each value {describe_type(of[1])}"
    if hint in _WORDS:
        return _WORDS[hint]
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
