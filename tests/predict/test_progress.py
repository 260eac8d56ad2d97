import io
import sys

import pytest

from tlkit.predict import progress as module
from tlkit.predict.progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def show(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(module, "SECONDS_BETWEEN", -1.0)

    def show(shown):
        """Return what is written while three pictures are counted."""
        # Here, as pytest puts its own stream in place after the fixtures.
        monkeypatch.setattr("sys.stderr", Terminal())
        with progress(3, shown=shown) as advance:
            for _ in range(3):
                advance()
        return sys.stderr.getvalue()

    return show


def test_it_counts_pictures_on_standard_error(show):
    assert "3/3" in show(True)
    assert "pictures" in show(True)


def test_nothing_is_shown_where_it_should_not(show):
    assert show(False) == ""
