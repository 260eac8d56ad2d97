"""Text from outside, made safe to show."""

from __future__ import annotations


def printable(text: str, limit: int | None = None) -> str:
    """Escape control characters and cut at ``limit`` characters."""
    safe = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    return safe if limit is None or len(safe) <= limit else safe[: limit - 1] + "…"
