"""Text from outside, made safe to show in terminals and spreadsheets."""

from __future__ import annotations

from tlkit.paths import with_urls

# Not "printable" to Python, but they are ordinary writing: the no-break and the ideographic space,
# and the joiners that Persian, Indic scripts and emoji are spelt with.
_ORDINARY = frozenset("\u00a0\u3000\u200c\u200d")
# The last four are what some spreadsheets take for the first four.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001


def printable(text: str, limit: int | None = None) -> str:
    r"""Return text that moves no cursor, changes no colour and turns no line round.

    Control characters, newlines, bidirectional overrides, lone surrogates and unassigned
    characters become ``\xNN``, ``\uNNNN`` or ``\UNNNNNNNN``. The paths of copies of what lies in
    object stores become URLs.

    Args:
        text: Any text.
        limit: Most characters to return, 1 or more; longer text ends in ``…``.
    """
    text = with_urls(text)
    if limit is not None:
        text, cut = text[: limit + 1], len(text) > limit
    else:
        cut = False
    safe = text if text.isprintable() else "".join(map(_escape, text))
    if limit is not None and (cut or len(safe) > limit):
        return safe[: limit - 1] + "…"
    return safe


def safe_cell(text: str) -> str:
    """Return text for a cell of a table: printable, and no formula that a spreadsheet would run.

    Text that begins like a formula gets an apostrophe before it.
    """
    shown = printable(text)
    return f"'{shown}" if text.startswith(_FORMULA_STARTS) else shown


def _escape(character: str) -> str:
    if character.isprintable() or character in _ORDINARY:
        return character
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
