"""JSON Schema of a config file, with the options of every registered plugin, for editors."""

from __future__ import annotations

import inspect
import json
from typing import Any

import docstring_parser
from pydantic import PydanticUserError, TypeAdapter

from tlkit.config.tables import Config, Table
from tlkit.options import allowed_options, takes_any_keyword, type_hints
from tlkit.plugin import Plugin
from tlkit.registry import Registry

# The tables of a config that name a plugin; ``reporters`` and two lists of ``compare`` hold many.
_TABLES = ("dataset", "backbone", "head", "workflow", "engine")


def config_schema(registry: Registry | None = None) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a config file.

    Args:
        registry: The plugins that a config may name; by default the built-in and installed ones.

    Returns:
        A schema that allows what ``build_trainer`` takes, as far as names, keys and types say: the
        ranges of numbers are checked by the plugins themselves.
    """
    registry = registry if registry is not None else Registry()
    schema = Config.model_json_schema()
    properties = schema["properties"]
    for kind in _TABLES:
        default = Config.model_fields[kind].default
        name = default.name if isinstance(default, Table) else None
        properties[kind] = _plugin_tables(registry, kind, schema, default=name)
    engine = {"type": "string", "enum": [*_names(registry, "engine"), "auto"]}
    properties["engine"] = {"oneOf": [engine, *properties["engine"]["oneOf"]]}
    properties["reporters"]["items"] = _named(registry, "reporter", schema)
    grid = schema["$defs"]["CompareTable"]["properties"]
    grid["backbones"]["items"] = _named(registry, "backbone", schema)
    grid["heads"]["items"] = _named(registry, "head", schema)
    for unused in ("Table", "EngineTable"):
        schema["$defs"].pop(unused, None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "tlkit config",
    }


def option_descriptions(plugin: type[Plugin]) -> dict[str, str]:
    """Return what docstrings say of each option, on one line each.

    The options of a dataclass are told among its class's attributes, others by the constructor; a
    class's words come before those of its bases.
    """
    told = {}
    for base in reversed(plugin.__mro__):
        for text in (base.__doc__, getattr(vars(base).get("__init__"), "__doc__", None)):
            for item in docstring_parser.parse(text or "").params:
                words = " ".join((item.description or "").split())
                told[item.arg_name] = words.replace("``", "`")
    return told


def _named(registry: Registry, kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an item of a list of plugins: a name, or a table."""
    tables = _plugin_tables(registry, kind, schema)["oneOf"]
    return {"oneOf": [{"type": "string", "enum": _names(registry, kind)}, *tables]}


def _plugin_tables(
    registry: Registry, kind: str, schema: dict[str, Any], default: str | None = None
) -> dict[str, Any]:
    """Return the schema of a plugin's table: one of as many as there are plugins of a kind."""
    extra = dict(schema["$defs"]["EngineTable"]["properties"]) if kind == "engine" else {}
    extra.pop("name", None)
    tables = []
    for entry in registry.list(kind):
        name, plugin = entry.name, entry.plugin
        table = {
            "title": f"{kind} {name}",
            "description": plugin.summary(),
            "type": "object",
            "properties": {"name": {"const": name}, **_options(plugin, schema), **extra},
            "required": [*([] if name == default else ["name"]), *_required(plugin)],
            "additionalProperties": takes_any_keyword(plugin),
        }
        tables.append(table)
    if kind == "engine":
        auto = "The fastest installed engine whose features equal TensorFlow's."
        tables.append(
            {
                "title": "engine auto",
                "description": auto,
                "type": "object",
                "properties": {"name": {"const": "auto"}, **extra},
                "additionalProperties": False,
            }
        )
    return {"oneOf": tables}


def _names(registry: Registry, kind: str) -> list[str]:
    return [entry.name for entry in registry.list(kind)]


def _required(plugin: type[Plugin]) -> list[str]:
    return [
        name
        for name, parameter in allowed_options(plugin).items()
        if parameter.default is inspect.Parameter.empty
    ]


def _options(plugin: type[Plugin], schema: dict[str, Any]) -> dict[str, Any]:
    hints, told = type_hints(plugin), option_descriptions(plugin)
    found = {}
    for name, parameter in allowed_options(plugin).items():
        option = _type_schema(hints.get(name, Any), schema)
        if told.get(name):
            option["description"] = told[name]
        if parameter.default is not inspect.Parameter.empty and _is_json(parameter.default):
            option["default"] = parameter.default
        found[name] = option
    return found


def _type_schema(hint: Any, schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a type hint; of any value where JSON Schema has no words for it."""
    try:
        found = TypeAdapter(hint).json_schema(ref_template="#/$defs/{model}")
    except PydanticUserError:
        return {}
    schema["$defs"] |= found.pop("$defs", {})
    return found


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
