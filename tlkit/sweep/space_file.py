"""A search space read from TOML, checked with one error that names the key."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from tlkit.config.tables import Config
from tlkit.errors import ConfigError, did_you_mean
from tlkit.options import describe_type
from tlkit.paths import expand_home
from tlkit.sweep.parameters import PARAMETERS, ChoiceParameter, Parameter, label
from tlkit.sweep.space import Space

MAX_BYTES = 1_000_000
_TABLES = ("backbone", "head", "workflow", "features", "test_time_augmentation")
_REASONS = {
    "run": "trials share images, seed and validation set, or their figures could not be compared",
    "dataset": "trials share images and validation set, or their figures could not be compared",
    "engine": "an engine changes no figure",
    "reporters": "trials have none",
    "compare": "that is the grid of `tlkit compare`",
}


def read_space(path: Path | str) -> Space:
    """Read a search space from a TOML file.

    Raises:
        ConfigError: If it is missing, no TOML, or no space; the error names the key.
    """
    path = expand_home(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ConfigError(f"The space {path} is larger than {MAX_BYTES:,} bytes.")
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as err:
        reason = getattr(err, "strerror", None) or err
        raise ConfigError(f"Cannot read the space {path}: {reason}.") from err
    return parse_space(text, str(path))


def parse_space(text: str, where: str = "the space") -> Space:
    """Return the space that a TOML text describes.

    Args:
        text: One table for each key of the config: ``["head.units"]`` or ``[head.units]``, with
            ``type``, ``low`` and ``high``, or with ``choice``.
        where: What it is called in errors.

    Raises:
        ConfigError: If it is no TOML, or no space; the error names the key.
    """
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as err:
        raise ConfigError(f"{where} is no valid TOML: {err}.") from err
    return make_space(tables, where, text)


def make_space(tables: Mapping[str, Any], where: str = "the space", text: str = "") -> Space:
    """Return the space that tables describe, as they stand in TOML.

    Raises:
        ConfigError: If they are no space; the error names the key.
    """
    found: dict[str, Parameter] = {}
    for key, table in _flat(tables, ""):
        if key in found:
            raise ConfigError(f"{key} stands twice in {where}.")
        _check_key(key, where)
        found[key] = _parameter(key, table, where)
    if not found:
        raise ConfigError(
            f"{where} names no key to search over. Write one table for each, such as\n"
            f'["head.units"]\ntype = "int"\nlow = 16\nhigh = 1024\nlog = true'
        )
    return Space(_parents_first(found, where), text)


def _flat(tables: Mapping[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and what they hold; ``[head.units]`` is the same as ``["head.units"]``."""
    for name, value in tables.items():
        key = f"{before}{name}"
        is_group = isinstance(value, dict) and "." not in key and not _is_parameter(value)
        if is_group and value:
            yield from _flat(value, f"{key}.")
        else:
            yield key, value


def _is_parameter(table: Mapping[str, Any]) -> bool:
    return any(
        key in table and not isinstance(table[key], dict) for key in ("type", "choice", "low")
    )


def _check_key(key: str, where: str) -> None:
    table, _, name = key.partition(".")
    if table in _REASONS:
        raise ConfigError(
            f"{key} is no key to search over: {_REASONS[table]}.\n"
            f"Allowed tables: {', '.join(_TABLES)}.\n(received: {where})"
        )
    if not name:
        raise ConfigError(
            f"'{key}' is no key of a config. Allowed: TABLE.KEY, such as "
            f'["head.units"] or ["workflow.learning_rate"].\n(received: {where})'
        )
    if table not in _TABLES:
        raise ConfigError(
            f"Unknown table '{table}' in the key '{key}'.{did_you_mean(table, _TABLES)}\n"
            f"Allowed tables: {', '.join(_TABLES)}.\n(received: {where})"
        )
    fields = getattr(Config.model_fields[table].annotation, "model_fields", {})
    if "name" not in fields and name not in fields:
        raise ConfigError(
            f"Unknown key '{name}' in [{table}].{did_you_mean(name, fields)}\n"
            f"Allowed: {', '.join(fields)}.\n(received: {where})"
        )


def _parameter(key: str, table: Any, where: str) -> Parameter:
    received = f"(received: {key} in {where})"
    if not isinstance(table, dict):
        raise ConfigError(
            f"{key} = {table!r} is no range. Allowed: a table with type, low and high, or with "
            f"choice, such as {{ choice = [1, 2] }}.\n{received}"
        )
    kind = table.get("type", "choice" if "choice" in table else None)
    if not isinstance(kind, str) or kind not in PARAMETERS:
        hint = did_you_mean(kind, PARAMETERS) if isinstance(kind, str) else ""
        what = "no type" if kind is None else f"the unknown type {kind!r}"
        log = " A range of logarithms is type = 'float' (or 'int') with log = true."
        raise ConfigError(
            f"{key} has {what}.{hint} Allowed: type = 'int' or 'float' with low and high, or "
            f"choice = [...].{log if kind == 'log' else ''}\n{received}"
        )
    try:
        return cast(Parameter, PARAMETERS[kind].model_validate(table))
    except ValidationError as err:
        raise ConfigError(f"{_explain(key, kind, table, err)}\n{received}") from err


def _explain(key: str, kind: str, table: Mapping[str, Any], err: ValidationError) -> str:
    problem = err.errors()[0]
    fields = _fields(kind)
    name = str(problem["loc"][0]) if problem["loc"] else ""
    if problem["type"] == "value_error":
        return f"{key}: {problem['ctx']['error']}."
    if problem["type"] == "missing":
        return f"{key} has no '{name}'. {fields[name].description}"
    if problem["type"] == "extra_forbidden":
        return (
            f"Unknown '{name}' of {key}.{did_you_mean(name, fields)}\n"
            f"Allowed for {kind}: {', '.join(fields)}."
        )
    allowed = "a table" if name == "when" else describe_type(fields[name].annotation)
    if problem["type"] in ("greater_than_equal", "less_than_equal"):
        allowed = "a number of up to 53 bits"
    return f"{key}: {name} = {table.get(name)!r} is not allowed. Allowed: {allowed}."


def _fields(kind: str) -> Mapping[str, Any]:
    return PARAMETERS[kind].model_fields


def _parents_first(found: Mapping[str, Parameter], where: str) -> dict[str, Parameter]:
    """Return the parameters such that those named in a 'when' come before it."""
    for key, item in found.items():
        for parent, value in item.when.items():
            _check_condition(key, parent, value, found, where)
    ordered: dict[str, Parameter] = {}
    waiting = dict(found)
    while waiting:
        ready = [key for key, item in waiting.items() if all(name in ordered for name in item.when)]
        if not ready:
            raise ConfigError(
                f"The conditions of {', '.join(waiting)} go round in a circle.\n(received: {where})"
            )
        ordered |= {key: waiting.pop(key) for key in ready}
    return ordered


def _check_condition(
    key: str, parent: str, value: Any, found: Mapping[str, Parameter], where: str
) -> None:
    received = f"(received: when of {key} in {where})"
    if parent not in found:
        raise ConfigError(
            f"{key} depends on {parent}, which is no key of the space."
            f"{did_you_mean(parent, found)}\nAllowed: {', '.join(found)}.\n{received}"
        )
    choice = found[parent]
    if not isinstance(choice, ChoiceParameter):
        raise ConfigError(
            f"{key} depends on {parent}, which is no choice. Allowed: a key with choice = [...]."
            f"\n{received}"
        )
    if label(value) not in list(map(label, choice.choice)):
        raise ConfigError(
            f"{key} depends on {parent} = {value!r}, which that is never. Allowed: "
            f"{_listed(choice.choice)}.\n{received}"
        )


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(repr(value) for value in values[:20])
