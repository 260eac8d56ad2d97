"""The page of every config key, made from the JSON Schema of a config."""

from __future__ import annotations

import json
from typing import Any

from tlkit.config_schema import config_schema
from tlkit.registry import Registry

_INTRODUCTION = """# Config keys

Every table and key of a config, with what ships with tlkit; [config](config.md) shows a whole one.
`tlkit schema config` prints the same as JSON Schema, with the plugins that you have installed; here
is that of [tlkit alone](config.schema.json).

"""


def page() -> str:
    """Return the page as Markdown."""
    schema = config_schema(Registry(entry_points=False))
    parts = [_INTRODUCTION]
    for table, entry in schema["properties"].items():
        if "oneOf" in entry:
            parts.append(_plugins(f"[{table}]", entry["oneOf"], schema))
        elif table == "reporters":
            parts.append(_plugins("[[reporters]]", entry["items"]["oneOf"], schema))
        else:
            model = schema["$defs"][entry["$ref"].rpartition("/")[2]]
            parts.append(f"## [{table}]\n")
            told = model["description"].partition(": ")[2]
            parts += [f"{_capital(_code(told))}\n"] * bool(told)
            parts.append(_keys(model["properties"], schema))
    return "\n".join(parts)


def _plugins(title: str, tables: list[dict[str, Any]], schema: dict[str, Any]) -> str:
    """Return the section of a table that names a plugin: one sub-section for each set of keys."""
    by_keys: dict[str, list[dict[str, Any]]] = {}
    for table in tables:
        if table["type"] == "object":
            keys = {key: value for key, value in table["properties"].items() if key != "name"}
            by_keys.setdefault(json.dumps(keys), []).append(table)
    parts = [f"## {title}\n"]
    for keys, same in by_keys.items():
        names = ", ".join(f"`{item['properties']['name']['const']}`" for item in same)
        told = same[0]["description"] if len(same) == 1 else "They take the same keys."
        parts.append(f"### {names}\n\n{_code(told)}\n\n{_keys(json.loads(keys), schema)}")
    return "\n".join(parts)


def _keys(keys: dict[str, Any], schema: dict[str, Any]) -> str:
    if not keys:
        return "No keys.\n"
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, key in keys.items():
        if "$ref" in key:
            inner = schema["$defs"][key["$ref"].rpartition("/")[2]]["properties"]
            rows += [_row(f"{name}.{part}", value) for part, value in inner.items()]
        else:
            rows.append(_row(name, key))
    return "\n".join(rows) + "\n"


def _row(name: str, key: dict[str, Any]) -> str:
    default = f"`{json.dumps(key['default'])}`" if key.get("default") is not None else ""
    told = _code(key.get("description", "")).replace("|", "\\|")
    return f"| `{name}` | {_type(key)} | {default} | {_capital(told)} |"


def _type(key: dict[str, Any]) -> str:
    if "enum" in key:
        return " or ".join(f"`{json.dumps(value)}`" for value in key["enum"])
    if "const" in key:
        return f"`{json.dumps(key['const'])}`"
    for several in ("anyOf", "oneOf"):
        if several in key:
            found = [_type(part) for part in key[several] if part.get("type") != "null"]
            return " or ".join(dict.fromkeys(found))
    kind = key.get("type", "any value")
    if kind == "array":
        return f"list of {_type(key.get('items', {}))}" if "items" in key else "list"
    if "$ref" in key:
        return "table"
    names = {"string": "text", "boolean": "true or false", "object": "table"}
    return names.get(kind, str(kind))


def _code(text: str) -> str:
    return text.replace("``", "`")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
