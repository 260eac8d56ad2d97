"""What is wrong with a config, in one error that says what is allowed."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from tlkit.config.homes import tell_homes
from tlkit.config.tables import Config, Table, table_model
from tlkit.errors import ConfigError, did_you_mean
from tlkit.options import as_list, describe_type


def validate(
    tables: Mapping[str, Any], where: str, homes: Callable[[str], Sequence[str]] = lambda _: ()
) -> Config:
    """Return the tables as a config.

    Args:
        tables: As they stand in the file, without short forms.
        where: The name of the file, for the error.
        homes: Returns the tables that take a key, for a key that stands elsewhere.

    Raises:
        ConfigError: If they are none; the error names the first wrong key.
    """
    try:
        return Config.model_validate(tables)
    except ValidationError as err:
        # What is there and wrong first: what is missing may be there under another name.
        problem = min(err.errors(), key=lambda found: found["type"] == "missing")
        location = [str(part) for part in problem["loc"]]
        raise ConfigError(
            f"{_explain(problem['type'], location, tables, homes)}\n(received: {where})"
        ) from err


# What other tools call the key that names a class.
_OFTEN_FOR_NAME = ("type", "kind", "class", "model", "plugin")


def _explain(
    problem: str,
    location: list[str],
    tables: Mapping[str, Any],
    homes: Callable[[str], Sequence[str]],
) -> str:
    names, value, field = _find(location, tables)
    if problem == "extra_forbidden":
        parent, key = location[:-1], location[-1]
        _, _, parent_field = _find(parent, tables)
        model = None if parent_field is None else table_model(parent_field.annotation)
        allowed = (model or Config).model_fields
        kind = f"key '{key}' in [{'.'.join(parent)}]" if parent else f"table [{key}]"
        if not parent and not isinstance(tables.get(key), dict | list):
            kind = f"key '{key}' outside of the tables"
        home = tell_homes(homes(key))
        near = did_you_mean(key, allowed)
        hint = near or home if kind.startswith("table") else home or near
        if parent and key in Config.model_fields and not near:
            hint = f" It is a table of its own: write it above [{parent[0]}], or as [{key}]."
        return f"Unknown {kind}.{hint}\nAllowed: {', '.join(allowed)}."
    if problem == "missing" and location[-1] == "name":
        table = ".".join(names).removesuffix(".name")
        meant = _meant_by(table, _find(location[:-1], tables)[1])
        return f"The table [{table}] has no name: say which plugin it means.{meant}"
    if problem == "missing":
        what = f"The table [{location[-1]}] is missing" if tables else "The config is empty"
        return (
            f'{what}: say what to train on, such as\n[dataset]\nname = "digits"\n'
            f'or, with pictures in a folder for each class,\n[dataset]\nname = "folder"\n'
            f'path = "pictures"\n`tlkit plugins --kind dataset` lists all.'
        )
    assert field is not None
    told = field.description or ""
    if (listed := as_list(field.annotation, value)) is not None:
        told += f" As a list: {names[-1]} = {listed}"
    if _is_list_of_tables(field.annotation) and isinstance(value, Mapping):
        told = f"Write it in double brackets: [[{'.'.join(names)}]]."
    if isinstance(value, list) and table_model(field.annotation) is not None:
        told = f"Write it in single brackets: [{'.'.join(names)}]."
    return (
        f"Wrong value for '{'.'.join(names)}': received {value!r}. "
        f"Allowed: {_allowed(field.annotation)}. {told}".rstrip()
    )


def _meant_by(table: str, keys: Any) -> str:
    """Return what may stand for the name in a table that has none, as a sentence; or nothing."""
    if not isinstance(keys, Mapping):
        return ""
    for key in _OFTEN_FOR_NAME:
        if isinstance(keys.get(key), str):
            return f' Did you mean name = "{keys[key]}" for {key}?'
    for key, item in keys.items():
        if isinstance(item, Mapping):
            return f' Write [{table}] and name = "{key}" in place of [{table}.{key}].'
    return ""


def _find(
    location: Sequence[str], tables: Mapping[str, Any]
) -> tuple[list[str], Any, FieldInfo | None]:
    """Return the names that lead to a field of the config, its value as received, and the field.

    What follows in a location is of pydantic's making: the place in a list, the type in a union.
    """
    model: type[BaseModel] | None = Config
    names: list[str] = []
    value: Any = tables
    field = None
    for part in location:
        if model is None or part not in model.model_fields or not isinstance(value, Mapping):
            break
        names.append(part)
        field = model.model_fields[part]
        value = value.get(part)
        model = table_model(field.annotation)
    return names, value, field


def _allowed(annotation: Any) -> str:
    model = table_model(annotation)
    if model is not None:
        return "the name of a plugin, or a table" if issubclass(model, Table) else "a table"
    if _is_list_of_tables(annotation):
        return "a list of names, or of tables [[...]] with a name and options"
    return describe_type(annotation)


def _is_list_of_tables(annotation: Any) -> bool:
    of = typing.get_args(annotation)
    return typing.get_origin(annotation) is list and table_model(of[0]) is not None
