"""Telling: what pydantic finds wrong, in plain words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_KINDS = {
    "model_type": "an object",
    "model_attributes_type": "an object",
    "dict_type": "an object",
    "list_type": "a list",
    "string_type": "a text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "int_from_float": "a whole number",
}
_LONGEST, _MOST_BITS = 40, 80


def tell_error(error: Mapping[str, Any], place: str) -> str:
    """Return what was received and what is allowed.

    Args:
        error: One of the errors that ``ValidationError.errors()`` returns.
        place: Where it is, such as ``"inputs.0.shape"``.
    """
    kind, context = error["type"], error.get("ctx", {})
    if kind == "missing":
        return f"{place} is missing"
    if kind in ("too_short", "too_long"):
        least = kind == "too_short"
        limit = f"at least {context['min_length']}" if least else f"at most {context['max_length']}"
        return f"{place} has {context['actual_length']} elements; allowed: {limit}"
    allowed = {
        "literal_error": context.get("expected"),
        "greater_than_equal": f"{context.get('ge')} or more",
        "less_than_equal": f"{context.get('le')} or less",
    }.get(kind, _KINDS.get(kind))
    if allowed is None:
        return f"{place}: {error['msg']}"
    return f"{place} is {show(error['input'])}; allowed: {allowed}"


def show(value: Any) -> str:
    """Return a JSON value in short."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, str):
        return repr(value[:_LONGEST]) + ("..." if len(value) > _LONGEST else "")
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return "a huge number"  # Python refuses to write thousands of digits
    return json.dumps(value)
