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
    atomic_write_bytes(path, _render(json.loads(json.dumps(value))))


def read_checked_json(path: Path) -> dict[str, Any] | None:
    """Return a record; None if it is missing, or is not byte for byte what was written."""
    try:
        content = path.read_bytes()
        value: Any = json.loads(content)["value"]
        whole = isinstance(value, dict) and content == _render(value)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return value if whole else None


def _render(value: Mapping[str, Any]) -> bytes:
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
    return json.dumps({"sha256": digest, "value": value}, indent=2).encode()
