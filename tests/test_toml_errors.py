import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlkit.config.toml_errors import explain_toml_error

TWICE = "already: delete one of them."


def explained(text):
    with pytest.raises(tomllib.TOMLDecodeError) as caught:
        tomllib.loads(text)
    return explain_toml_error(text, caught.value)


@pytest.mark.parametrize(
    ("text", "line", "cure"),
    [
        ("[a]\nx = 1\n[a]\n", "Line 3: [a]", "The table [a] stands in line 1 already"),
        (
            'a = "x"\n[a]\ny = 1',
            "Line 2: [a]",
            "Line 1 sets 'a' already: delete that line, or the whole table [a].",
        ),
        ("x = 2, y = 3", "Line 1", "Each key stands on a line of its own: x = 2"),
        ("[a]\nx = 1\nx = 2", "Line 3: x = 2", f"Line 2 sets 'x' {TWICE}"),
        (
            "[a]\ny = 1\n[[a]]",
            "Line 3: [[a]]",
            "Line 1 writes [a], with other brackets: use [[a]].",
        ),
        ("[[a]]\ny = 1\n[a]", "Line 3: [a]", "with other brackets: use [[a]]."),
        ("[a]\nname = folder", "Line 2: name = folder", 'Text stands in quotes: name = "folder"'),
        ("path = ~/my pictures", "Line 1", 'Text stands in quotes: path = "~/my pictures"'),
        ("x = True", "Line 1: x = True", "It is written in small letters: x = true"),
        ("x = 0,5", "Line 1: x = 0,5", "Decimals take a point: x = 0.5"),
        ("x = .5", "Line 1: x = .5", "A number begins with a digit: x = 0.5"),
        (
            'path = "C:\\Users\\me"',
            "Line 1",
            "Backslashes want single quotes: path = 'C:\\Users\\me'",
        ),
        ("[a]\nx: 3", "Line 2: x: 3", "Write: x = 3"),
        ("[a]\nx =\n", "Line 2: x =", "The value is missing, as in x = 3"),
        ("x = 3,", "Line 1: x = 3,", "Write: x = 3"),
        ("x = y,", "Line 1: x = y,", 'Text stands in quotes: x = "y"'),
        ('x = "y\n[a]', 'Line 1: x = "y', 'The quote is not closed: x = "y"'),
        ("x = 'y", "Line 1: x = 'y", "The quote is not closed: x = 'y'"),
        ("x = \u201cy\u201d", "Line 1", 'Quotes are straight: x = "y"'),
        ("x = null", "Line 1", "TOML has no null: leave the key x out."),
        ("x 3", "Line 1", "Write: x = 3"),
        ("x = 064", "Line 1", "A number begins with no 0: x = 64"),
        ("x = 64 // width", "Line 1", "A comment begins with #: x = 64"),
        ("x == 3", "Line 1", "Write: x = 3"),
        ("x = 3;", "Line 1", "Write: x = 3"),
        ('"x": "y",', "Line 1", 'Write: x = "y"'),
        ("batch size = 3", "Line 1", "A key has no spaces: batch_size ="),
        ("a]\nx = 3", "Line 1: a]", "The bracket is not opened: [a]"),
        ("// x\ny = 3", "Line 1: // x", "A comment begins with #."),
        ("a:\nx = 3", "Line 1: a:", "A table is written in brackets: [a]"),
        ("[a\nx = 3", "Line 1: [a", "The bracket is not closed: [a]"),
    ],
)
def test_the_line_and_the_cure_are_told(text, line, cure):
    found = explained(text)
    assert f"\n{line}" in found
    assert cure in found


@pytest.mark.parametrize("text", ["x = [1,", "x = {", "= 3", "x = 1e3 2"])
def test_where_no_cure_is_known_none_is_told(text):
    assert not any(word in explained(text) for word in ("Write", "quotes", "delete", "letters"))


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ('{"head": {"name": "dense"}}', "JSON"),
        ("head:\n  name: dense\n  units: 3\n", "YAML"),
        ("# mine\n---\nreporters:\n  - rich\n", "YAML"),
    ],
)
def test_another_language_is_named(text, language):
    found = explained(text)
    assert found.startswith(f"it is {language}. A config is TOML, such as\n[dataset]\nname = ")
    tomllib.loads(found.partition("such as")[2])


@given(st.text(alphabet="[]ab.=:'\"\\ 1\n#{}", max_size=40))
def test_any_text_is_toml_or_explained(text):
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = explain_toml_error(text, error)
        assert str(error) in found or found.startswith("it is ")
