"""JSON Schema of a config file, with the options of every registered plugin, for editors."""

from __future__ import annotations

import inspect
import json
from typing import Any

from pydantic import PydanticUserError, TypeAdapter

from tlkit.config.tables import PLUGIN_TABLES, Config, Table
from tlkit.options import allowed_options, option_descriptions, takes_any_keyword, type_hints
from tlkit.plugin import Plugin
from tlkit.registry import Registry


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
    for kind in PLUGIN_TABLES:
        default = Config.model_fields[kind].default
        name = default.name if isinstance(default, Table) else None
        properties[kind] = _named(registry, kind, schema, default=name)
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


def _named(
    registry: Registry, kind: str, schema: dict[str, Any], default: str | None = None
) -> dict[str, Any]:
    """Return the schema of a plugin: the name of one that needs no options, or a table."""
    names = [entry.name for entry in registry.list(kind) if not _required(entry.plugin)]
    if kind == "engine":
        names.append("auto")
    tables = _plugin_tables(registry, kind, schema, default)
    return {"oneOf": [{"type": "string", "enum": names}, *tables]}


def _plugin_tables(
    registry: Registry, kind: str, schema: dict[str, Any], default: str | None
) -> list[dict[str, Any]]:
    """Return the schemas of a plugin's table, as many as there are plugins of a kind."""
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
    return tables


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
