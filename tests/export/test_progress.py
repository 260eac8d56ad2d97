import io
import sys

import pytest

from tlkit.export.progress import StepLine


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def show(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")

    def show(shown):
        """Return what is written to standard error while two steps are told."""
        # Here, as pytest puts its own stream in place after the fixtures.
        monkeypatch.setattr("sys.stderr", Terminal())
        with StepLine(shown=shown) as line:
            line.tell("converting [bold].onnx")
            with line.hidden():
                print("Written")
            line.tell("checking [bold].onnx")
        assert capsys.readouterr().out == "Written\n"
        return sys.stderr.getvalue()

    return show


def test_it_says_each_step_on_standard_error(show):
    text = show(True)
    assert text.index("converting [bold].onnx") < text.index("checking [bold].onnx")
    assert "Written" not in text


def test_nothing_is_shown_where_it_should_not(show):
    assert show(False) == ""
