"""What ``docs/reference/json.md`` says of the documents, and the golden file of their schemas.

    python -m tests.json_reference

writes both anew from the models, after a field was added or a new version made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tlkit.documents.schema import json_schemas

ROOT = Path(__file__).parents[1]
PAGE, GOLDEN = ROOT / "docs" / "reference" / "json.md", ROOT / "tests" / "golden" / "schemas.json"
BEGIN = "<!-- Made from the models by python -m tests.json_reference. -->"


def main() -> None:
    GOLDEN.write_text(golden(), encoding="utf-8")
    by_hand = PAGE.read_text(encoding="utf-8").partition(BEGIN)[0]
    PAGE.write_text(by_hand + reference(), encoding="utf-8")


def golden() -> str:
    return json.dumps(json_schemas(), indent=1, sort_keys=True) + "\n"


def reference() -> str:
    """Return one table of fields for each document and each of its parts."""
    lines = [BEGIN, ""]
    parts: dict[str, Any] = {}
    for name, schema in json_schemas().items():
        text = schema["description"].replace("``", "`")
        lines += [f"## {name}", "", text, "", *_fields(schema)]
        parts |= schema.get("$defs", {})
    lines += ["## Parts", ""]
    parts.pop("JsonValue", None)
    for name, schema in sorted(parts.items()):
        lines += [f"### {name}", "", schema["description"], "", *_fields(schema)]
    return "\n".join(lines).rstrip() + "\n"


def _fields(schema: dict[str, Any]) -> list[str]:
    rows = [
        f"| `{name}` | {_type(field)} | {field.get('description', '')} |"
        for name, field in schema["properties"].items()
        if name not in ("schema", "status")
    ]
    return ["| field | type | meaning |", "|---|---|---|", *rows, ""]


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        if name == "JsonValue":
            return "any JSON value"
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        return " or ".join(map(_type, field["anyOf"]))
    if "enum" in field:
        return " or ".join(f"`{json.dumps(value)}`" for value in field["enum"])
    kind = field.get("type")
    if kind == "array" and "prefixItems" in field:
        return f"list of {len(field['prefixItems'])} numbers"
    if kind == "array":
        return f"list of {_type(field['items'])}"
    if kind == "object":
        return f"table of {_type(field['additionalProperties'])}"
    if kind == "string" and field.get("format") == "path":
        return "absolute path"
    return str(kind)


if __name__ == "__main__":
    main()
