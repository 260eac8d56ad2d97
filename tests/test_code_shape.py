"""The code is one to read: short modules that say what they are for, and short functions."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_MODULE_LINES, MAX_FUNCTION_LINES = 400, 60
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
# What may be longer, and why; what is no longer needed must go.
LONG_MODULES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}


def sources():
    """Yield the name and the text of each module."""
    for path in sorted((ROOT / "tlkit").rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def opens_with_one_line(text):
    """Return whether a module begins with a docstring whose first line stands alone."""
    first, _, rest = (ast.get_docstring(ast.parse(text)) or "").partition("\n")
    return first.endswith(".") and (not rest or rest.startswith("\n"))


def function_lines(text):
    """Yield each function with its number of lines, without its signature and its docstring."""

    def walk(node, names):
        for child in ast.iter_child_nodes(node):
            inner = (*names, child.name) if isinstance(child, FUNCTIONS | ast.ClassDef) else names
            if isinstance(child, FUNCTIONS):
                body = child.body[ast.get_docstring(child) is not None :]
                yield ".".join(inner), body[-1].end_lineno - body[0].lineno + 1 if body else 0
            yield from walk(child, inner)

    yield from walk(ast.parse(text), ())


@pytest.fixture(scope="module")
def modules():
    return dict(sources())


def test_every_module_opens_with_one_line_that_says_what_it_is_for(modules):
    assert [name for name, text in modules.items() if not opens_with_one_line(text)] == []


def test_no_module_is_long(modules):
    long = {
        name: count
        for name, text in modules.items()
        if (count := len(text.splitlines())) > MAX_MODULE_LINES
    }
    assert {name: count for name, count in long.items() if name not in LONG_MODULES} == {}, (
        "split it by ideas, or say in LONG_MODULES why it is better whole"
    )
    assert set(LONG_MODULES) <= set(long), "no longer needed in LONG_MODULES"


def test_no_function_is_long(modules):
    long = {
        f"{name}:{function}": count
        for name, text in modules.items()
        for function, count in function_lines(text)
        if count > MAX_FUNCTION_LINES
    }
    assert {name: count for name, count in long.items() if name not in LONG_FUNCTIONS} == {}, (
        "split it by ideas, or say in LONG_FUNCTIONS why it is better whole"
    )
    assert set(LONG_FUNCTIONS) <= set(long), "no longer needed in LONG_FUNCTIONS"


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ('"""What it is for."""\n', True),
        ('"""What it is for.\n\nMore of it.\n"""\n', True),
        ("", False),
        ("x = 1\n", False),
        ('"""What it is\nfor."""\n', False),
        ('"""No sentence"""\n', False),
    ],
)
def test_a_first_line_is_one_that_stands_alone(text, fits):
    assert opens_with_one_line(text) is fits


def test_lines_of_functions_are_counted_without_signature_and_docstring():
    text = '''
class A:
    @property
    def long(
        self,
        other,
    ):
        """Do it.

        In a way.
        """
        # A comment above the first statement is not counted.
        x = 1

        def inner():
            return x

        return inner

def empty():
    """Do nothing."""
'''
    assert list(function_lines(text)) == [("A.long", 6), ("A.long.inner", 1), ("empty", 0)]
