"""Checked JSON: small records on disk that carry their own checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlkit.atomic import atomic_write_bytes


def write_checked_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a record with its SHA-256, atomically.

    Args:
        path: The file.
        value: JSON values.

    Raises:
        OSError: If the file cannot be written.
    """
    atomic_write_bytes(path, render_checked_json(value))


def read_checked_json(path: Path) -> dict[str, Any] | None:
    """Return a record; None if it is missing, or is not byte for byte what was written."""
    try:
        return parse_checked_json(path.read_bytes())
    except OSError:
        return None


def parse_checked_json(content: bytes) -> dict[str, Any] | None:
    """Return the record of a file's content; None if it is not byte for byte what was written."""
    try:
        value: Any = json.loads(content)["value"]
        whole = isinstance(value, dict) and content == _render(value)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return value if whole else None


def render_checked_json(value: Mapping[str, Any]) -> bytes:
    """Return a record with its SHA-256, as a file holds it.

    Args:
        value: JSON values.
    """
    return _render(json.loads(json.dumps(value)))


def _render(value: Mapping[str, Any]) -> bytes:
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
    return json.dumps({"sha256": digest, "value": value}, indent=2).encode()
