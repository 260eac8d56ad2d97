import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlkit.text import printable, safe_cell


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä 猫 😀", "plain ä 猫 😀"),
        ("a\nb\tc\r", "a\\x0ab\\x09c\\x0d"),
        ("\x1b[31m\x7f\x9b", "\\x1b[31m\\x7f\\x9b"),
        ("\u202eabc\u2066\u200f", "\\u202eabc\\u2066\\u200f"),
        ("\u2028\u2029\ufeff", "\\u2028\\u2029\\ufeff"),
        ("caf\udce9", "caf\\udce9"),
        ("\U000e0041", "\\U000e0041"),
        ("no\u00a0break\u3000wide می\u200cروم", "no\u00a0break\u3000wide می\u200cروم"),
        ("", ""),
    ],
)
def test_what_is_escaped(text, shown):
    assert printable(text) == shown


def test_the_limit_counts_the_ellipsis():
    assert printable("abcdef", 6) == "abcdef"
    assert printable("abcdefg", 6) == "abcde…"
    assert printable("\x1b" * 3, 6) == "\\x1b\\…"
    assert printable("ab", 1) == "…"


@given(st.text(), st.integers(1, 30))
def test_nothing_dangerous_is_left_and_the_limit_holds(text, limit):
    for shown in (printable(text), printable(text, limit)):
        assert not any(
            unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in shown
        )
        assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
        assert printable(shown) == shown
    assert len(printable(text, limit)) <= limit
    assert printable(text, 10_000) == printable(text)


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\ta", "\ra", "\na", "＝1", "＠a"])  # noqa: RUF001
def test_formulas_are_guarded_and_cells_move_no_cursor(text):
    assert safe_cell(text) == "'" + printable(text)
    assert safe_cell(f"a{text}") == printable(f"a{text}")
