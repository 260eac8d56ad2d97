"""Text from outside, made safe to show."""

from __future__ import annotations

import unicodedata

# Besides control characters: marks that reorder or hide the text around them.
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(text: str, limit: int | None = None) -> str:
    r"""Show control characters, direction marks and line breaks as escapes, such as ``\x1b``.

    Args:
        text: Any text, such as a file name or a class name.
        limit: The most characters to return; longer text ends in an ellipsis.
    """
    safe = "".join(
        repr(char)[1:-1] if unicodedata.category(char) in _UNSAFE_CATEGORIES else char
        for char in text
    )
    safe = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in safe)
    return safe if limit is None or len(safe) <= limit else safe[: max(limit - 1, 0)] + "…"
