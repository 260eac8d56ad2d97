import html
import re

import pytest
from hypothesis import given, strategies
from markdown_it import MarkdownIt

from tests.builtin.reporters.conftest import NASTY
from tlkit.card.markdown import block, code, escape, listed, table
from tlkit.text import printable

NAMES = (
    *NASTY,
    *("a|b", "`tick`", "``two``", "**bold**", "<b>", "<script>", "&amp;", "[a](b)", "![a](b)"),
    *("1. one", "2) two", "- dash", "+ plus", "# head", "=", "---", "~~gone~~", "www_x_y", "a\\|b"),
    *("https://x.org", "a@b.org", "@you", "\\", "\\\\", "trailing\\", "$a$", "`", "a`b``c"),
)


def shown(markdown):
    """Return the text that a reader sees, and the tags that are not the table's own."""
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown)
    tags = set(re.findall(r"<(\w+)", page)) - {"table", "thead", "tbody", "tr", "th", "td", "p"}
    return html.unescape(re.sub(r"<[^>]*>", "", page)), tags


def words(name):
    return printable(name).split()


@pytest.mark.parametrize("name", NAMES)
def test_names_are_shown_as_they_are_in_tables_and_paragraphs(name):
    cell = "\n".join(table(("Class", "N"), [(escape(name), "7")], ("l", "l")))
    text, tags = shown(cell)
    assert text.split() == ["Class", "N", *words(name), "7"]
    assert tags == set()
    text, tags = shown(escape(name))
    assert text.split() == words(name)
    assert tags == set()


@given(strategies.text(min_size=1))
def test_any_text_is_shown_as_it_is(name):
    cell = "\n".join(table(("C", "N"), [(escape(name), "7")], ("l", "l")))
    text, tags = shown(cell)
    assert text.split() == ["C", "N", *words(name), "7"]
    assert tags == set()


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("long")])
def test_code_is_shown_as_it_is(name):
    text, tags = shown(f"a {code(name)} b")
    assert text.split() == ["a", *words(name), "b"]
    assert tags == {"code"}


def test_a_bar_in_code_ends_no_cell():
    text, tags = shown("\n".join(table(("A", "B"), [(code("x|y"), "7")])))
    assert text.split() == ["A", "B", "x|y", "7"]
    assert tags == {"code"}


def test_a_block_ends_where_it_ends():
    text, tags = shown("\n".join([*block("a\n```\nb\n````", "python"), "after"]))
    assert text.split() == ["a", "```", "b", "````", "after"]
    assert tags == {"pre", "code"}


def test_lists_in_words():
    assert [listed(items) for items in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "", "a", "a and b", "a, b and c"
    ]  # fmt: skip
