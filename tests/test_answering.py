import json
import subprocess
import sys

import pytest
import typer

from tlkit.answering import Continuing, JsonOption, answers, call
from tlkit.documents.cache import CacheCleared
from tlkit.errors import TrainingError
from tlkit.interruption import Interrupted

SCRIPT = """
import os, sys
import typer
from tlkit.answering import Continuing, JsonOption, answers, call
from tlkit.documents.cache import CacheCleared

app = typer.Typer()

@app.command()
@answers
def talk(json_: JsonOption = False) -> CacheCleared:
    print("from Python")
    os.system("echo from a child")
    os.write(1, b"from a library\\n")
    return CacheCleared(folder=".", freed_bytes=3)

call(app, None)
"""


def test_children_and_libraries_do_not_reach_standard_output():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["freed_bytes"] == 3
    assert done.stderr.split("\n")[:3] == ["from Python", "from a child", "from a library"]
    plain = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert "from a child" in plain.stdout
    assert "schema" not in plain.stdout


def ended_with(error, **options):
    @answers
    def command(json_: JsonOption = False) -> CacheCleared:
        raise error

    with pytest.raises(typer.Exit) as caught:
        command(**options)
    return caught.value.exit_code


def test_a_note_of_an_error_is_a_line_of_its_own(capsys):
    error = TrainingError("it failed")
    error.add_note("Go on: tlkit resume x")
    assert ended_with(error) == 1
    assert capsys.readouterr().err == "error: it failed\nGo on: tlkit resume x\n"


@pytest.mark.parametrize(
    ("error", "code", "kind", "message"),
    [
        (TrainingError("it failed"), 1, "TrainingError", "it failed"),
        (KeyboardInterrupt("kept"), 130, "KeyboardInterrupt", "kept"),
        (KeyboardInterrupt(), 130, "KeyboardInterrupt", "Interrupted."),
        (ZeroDivisionError("a bug"), 1, "ZeroDivisionError", "a bug"),
    ],
)
def test_what_a_command_raises_becomes_a_document(capsys, error, code, kind, message):
    assert ended_with(error, json_=True) == code
    output = capsys.readouterr()
    document = json.loads(output.out)
    assert (document["type"], document["exit_code"], document["status"]) == (kind, code, "error")
    assert message in document["message"]
    assert ("Traceback" in output.err) == (kind == "ZeroDivisionError")


def test_an_interrupt_gives_the_command_that_goes_on(capsys):
    assert ended_with(Interrupted("Interrupted.", "tlkit run 'a b'"), json_=True) == 130
    document = json.loads(capsys.readouterr().out)
    assert document["next_command"] == "tlkit run 'a b'"
    assert document["message"] == "Interrupted.\nGo on: tlkit run 'a b'"
    ended_with(TrainingError("it failed"), json_=True)
    assert json.loads(capsys.readouterr().out)["next_command"] is None


def test_without_json_an_error_is_one_line_and_a_bug_is_raised(capsys):
    assert ended_with(TrainingError("it failed")) == 1
    assert ended_with(KeyboardInterrupt("kept")) == 130
    output = capsys.readouterr()
    assert output.err == "error: it failed\nkept\n"
    assert output.out == ""
    with pytest.raises(ZeroDivisionError):
        ended_with(ZeroDivisionError())


@pytest.mark.parametrize("error", [KeyboardInterrupt, EOFError])
def test_an_interrupt_outside_a_command_is_a_document_too(capsys, error):
    app = typer.Typer()

    @app.callback(invoke_without_command=True)
    def main(json_: JsonOption = False) -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        call(app, ["--json"])
    assert caught.value.code == 130
    document = json.loads(capsys.readouterr().out)
    assert (document["type"], document["exit_code"]) == ("KeyboardInterrupt", 130)


def test_an_interrupt_within_a_command_is_told_once(capsys):
    app = typer.Typer()

    @app.command()
    @answers
    def talk(json_: JsonOption = False) -> CacheCleared:
        raise KeyboardInterrupt("kept")

    with pytest.raises(SystemExit) as caught:
        call(app, ["--json"])
    assert caught.value.code == 130
    assert json.loads(capsys.readouterr().out)["message"] == "kept"


GOES_ON = """
import sys
import typer
from tlkit.answering import Continuing, JsonOption, answers, call
from tlkit.documents.cache import CacheCleared
from tlkit.errors import TrainingError

app = typer.Typer()

@app.command()
@answers
def talk(json_: JsonOption = False) -> Continuing:
    def action():
        print("going on")
        if len(sys.argv) > 2:
            raise {"fail": TrainingError("it broke"), "stop": KeyboardInterrupt()}[sys.argv.pop()]
    return Continuing(CacheCleared(folder=".", freed_bytes=3), action)

call(app, sys.argv[1:2])
"""


@pytest.mark.parametrize(
    ("how", "code", "text"),
    [
        ((), 0, "going on\n"),
        (("fail",), 1, "going on\nerror: it broke\n"),
        (("stop",), 130, "going on\nInterrupted.\n"),
    ],
)
def test_what_comes_after_the_document_adds_no_other(how, code, text):
    done = subprocess.run(
        [sys.executable, "-c", GOES_ON, "--json", *how], capture_output=True, text=True
    )
    assert done.returncode == code
    assert json.loads(done.stdout)["freed_bytes"] == 3
    assert done.stderr == text


def test_a_command_that_goes_on_does_so_without_json_too(capsys):
    @answers
    def command(json_: JsonOption = False) -> Continuing:
        return Continuing(CacheCleared(folder=".", freed_bytes=3), lambda: print("going on"))

    command()
    assert capsys.readouterr().out == "going on\n"
