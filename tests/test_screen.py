import os
import re
import sys

import pytest

from tlkit.screen import say, show_groups, show_table

HEADER = ("Key", "Name", "What")
STYLE = re.compile(r"\x1b\[[0-9;]*m")
ROWS = [("a" * 12, "first", "It is here."), ("b" * 12, "se\x1b[2Jcond", "There.")]


class Tty:
    def __init__(self, stream):
        self._stream = stream

    def isatty(self):
        return True

    def __getattr__(self, name):
        return getattr(self._stream, name)


@pytest.fixture
def terminal(monkeypatch):
    def terminal(columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(sys, "stdout", Tty(sys.stdout))

    return terminal


def test_piped_a_row_is_a_line_whatever_its_length(capsys):
    show_table(HEADER, [*ROWS, ("c", "third", "long " * 100)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Key           Name           What"
    assert lines[2] == "bbbbbbbbbbbb  se\\x1b[2Jcond  There."
    assert len(lines) == 4
    assert not any(line.endswith(" ") for line in lines)


def test_piped_a_table_without_rows_is_its_header(capsys):
    show_table(HEADER, [])
    assert capsys.readouterr().out == "Key  Name  What\n"


@pytest.mark.parametrize(
    ("columns", "shown"), [(60, HEADER), (42, HEADER), (41, HEADER[1:]), (18, HEADER[1:2])]
)
def test_a_narrow_terminal_goes_without_the_spare_columns(terminal, capsys, columns, shown):
    terminal(columns)
    show_table(HEADER, ROWS, spare=("Key", "What"))
    lines = STYLE.sub("", capsys.readouterr().out).splitlines()
    assert tuple(lines[0].split()) == shown
    assert max(map(len, lines)) <= columns
    assert len(lines) == 4  # nothing is folded
    assert "\x1b" not in "".join(lines)


def test_numbers_are_flush_right(terminal, capsys):
    rows = [("a", "1.5"), ("b", "1,200")]
    show_table(("File", "Size"), rows, numbers=("Size",))
    assert capsys.readouterr().out == "File   Size\na       1.5\nb     1,200\n"
    terminal(60)
    show_table(("File", "Size"), rows, numbers=("Size",))
    lines = STYLE.sub("", capsys.readouterr().out).splitlines()
    assert [line.rstrip() for line in lines if "1" in line] == ["a        1.5", "b      1,200"]


@pytest.mark.parametrize("columns", [40, 80])
def test_groups_stand_under_their_headings(terminal, capsys, columns):
    terminal(columns)
    show_groups({"Heads": [("dense", "word " * 30), ("[bold]", "x" * 90)], "Engines": []})
    lines = STYLE.sub("", capsys.readouterr().out).splitlines()
    assert lines[0].strip() == "Heads"
    assert lines[1].startswith("  dense   word word")
    assert any(line.startswith("  [bold]") for line in lines)
    assert sum(line.count("x") for line in lines) == 90
    assert max(map(len, lines)) <= columns


@pytest.mark.parametrize("columns", [40, 80])
def test_in_a_terminal_a_message_is_wrapped_between_words(monkeypatch, capsys, columns):
    size = os.terminal_size((columns, 24))
    monkeypatch.setattr("os.get_terminal_size", lambda descriptor: size)
    monkeypatch.setattr(sys.stderr, "fileno", lambda: 2)
    text = "error: " + "some-words of a long message " * 6 + "\n(received: \x1b[2J)"
    say(text)
    lines = capsys.readouterr().err.splitlines()
    assert max(map(len, lines)) <= columns
    assert " ".join(lines) == " ".join(text.replace("\x1b", "\\x1b").split())


def test_a_command_stays_one_line_that_can_be_pasted(monkeypatch, capsys):
    monkeypatch.setattr("os.get_terminal_size", lambda descriptor: os.terminal_size((40, 24)))
    monkeypatch.setattr(sys.stderr, "fileno", lambda: 2)
    command = "Go on: tlkit run quickstart --set workflow.epochs=10 --set backbone.image_size=224"
    say(f"Interrupted.\n{command}")
    assert capsys.readouterr().err.splitlines() == ["Interrupted.", command]


def test_piped_a_message_keeps_its_lines(capsys):
    say("error: " + "word " * 50 + "end\nAvailable: a, b")
    assert len(capsys.readouterr().err.splitlines()) == 2
