"""What a terminal shows in the end, as pyte, a terminal in memory, understands it."""

import io
import os
import signal
import sys

import pytest
from rich.console import Console
from rich.text import Text

from tlkit import Phase, PhaseResult
from tlkit.builtin.reporters import terminal_display
from tlkit.builtin.reporters.terminal import RichReporter
from tlkit.builtin.reporters.terminal_display import Display

pyte = pytest.importorskip("pyte", reason="pyte renders the screen: pip install 'tlkit[test]'")
PHASE = Phase("frozen", 60, 10, 1000, 5, 5)


class Terminal(io.StringIO):
    """A terminal of a size; ``rows()`` is what stands on it."""

    def __init__(self, columns=80, lines=24):
        super().__init__()
        self.screen = pyte.HistoryScreen(columns, lines, history=1000, ratio=0.5)
        self._stream = pyte.Stream(self.screen)
        self.frames = []
        self.console = Console(
            file=self,
            force_terminal=True,
            color_system="truecolor",
            width=columns,
            height=lines,
            legacy_windows=False,
        )

    def write(self, text):
        # A terminal in cooked mode sets the cursor to the left on a new line.
        self._stream.feed(text.replace("\n", "\r\n"))
        self.frames.append(self.rows())
        return len(text)

    def rows(self):
        return [line.rstrip() for line in self.screen.display if line.strip()]

    @property
    def scrolled(self):
        return len(self.screen.history.top)

    def narrow(self, columns):
        """Wrap what stands there to fewer columns, as terminals do."""
        rows = [line.rstrip() for line in self.screen.display[: self.screen.cursor.y + 1]]
        self.screen.resize(columns=columns)
        self.screen.reset()
        wrapped = [
            row[first : first + columns]
            for row in rows
            for first in range(0, max(len(row), 1), columns)
        ]
        self._stream.feed("\r\n".join(wrapped))
        self.console.width = columns


@pytest.fixture(autouse=True)
def _every_draw(monkeypatch):
    monkeypatch.setattr(terminal_display, "SECONDS_BETWEEN_DRAWS", 0)


def metrics(epoch):
    return {
        "loss": 2 / epoch,
        "accuracy": 1 - 1 / (epoch + 1),
        "val_loss": 2 / epoch + epoch / 100,
        "val_accuracy": 1 - 1 / (epoch + 2),
    }


def train(reporter, epochs, stop=None):
    reporter.on_phase_begin(PHASE)
    for epoch in range(1, epochs + 1):
        reporter.on_epoch_progress(PHASE, epoch, 500, 1000, 0.5)
        if epoch == stop:
            return
        reporter.on_epoch_end(PHASE, epoch, metrics(epoch), 1.2)


def history(epochs):
    return {key: [metrics(epoch)[key] for epoch in range(1, epochs + 1)] for key in metrics(1)}


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_a_phase_under_way_stays_in_its_place(columns):
    terminal = Terminal(columns)
    train(RichReporter(console=terminal.console), 60, stop=50)
    rows = terminal.rows()
    assert rows[0].startswith("Phase frozen: 60 epochs")
    assert terminal.scrolled == 0
    assert len(rows) <= 9
    shown = "\n".join(rows)
    assert "Epoch 50/60" in shown
    assert "82 %" in shown
    assert "1,000 images/s" in shown
    assert "0:13 left" in shown  # eleven epochs of 1.2 seconds, half a second of which is over
    assert "last 49" in shown
    assert "best 14" in shown
    assert "Val loss  █" in shown
    assert terminal.screen.cursor.hidden


def test_no_frame_is_without_its_lines():
    terminal = Terminal()
    train(RichReporter(console=terminal.console), 20, stop=20)
    first = next(n for n, frame in enumerate(terminal.frames) if any("Epoch" in r for r in frame))
    assert len(terminal.frames) > first + 30
    for frame in terminal.frames[first:]:
        assert sum(row.startswith("Epoch ") for row in frame) == 1, frame


def test_a_finished_phase_leaves_a_table_that_fits_the_screen():
    terminal = Terminal()
    reporter = RichReporter(console=terminal.console)
    train(reporter, 60)
    reporter.on_phase_end(PhaseResult(PHASE, history(60), 72.0, 14))
    rows = terminal.rows()
    assert terminal.scrolled == 0
    assert not terminal.screen.cursor.hidden
    table = [row for row in rows if "/60" in row]
    assert 8 <= len(table) <= 13
    assert table[0].split()[0] == "1/60"
    assert table[-1].split()[0] == "60/60"
    (kept,) = (row for row in table if row.endswith("← kept"))
    assert kept.split()[0] == "14/60"
    assert rows[-1] == "Kept the weights of the best epoch, 14."
    assert not any(row.startswith("Epoch 60/60") for row in rows)


def test_few_epochs_are_all_in_the_table():
    terminal = Terminal()
    reporter = RichReporter(console=terminal.console)
    train(reporter, 12)
    reporter.on_phase_end(PhaseResult(PHASE, history(12), 72.0))
    assert sum("/60" in row for row in terminal.rows()) == 12


@pytest.mark.parametrize("columns", [70, 50, 40])
def test_a_terminal_that_becomes_narrower_keeps_no_remains(columns):
    terminal = Terminal(100)
    reporter = RichReporter(console=terminal.console)
    train(reporter, 20, stop=20)
    before = sum(row.startswith("Epoch ") for row in terminal.rows())
    terminal.narrow(columns)
    reporter.on_epoch_progress(PHASE, 20, 700, 1000, 0.7)
    rows = terminal.rows()
    assert before == sum(row.startswith("Epoch ") for row in rows) == 1
    assert sum(row.startswith("Val loss") for row in rows) == 1
    assert rows[0].startswith("Phase frozen")
    assert sum("Parameters" in row for row in rows) == 1
    reporter.on_error(KeyboardInterrupt())
    assert not any(row.startswith("Epoch ") for row in terminal.rows())
    assert any("19/60" in row for row in terminal.rows())
    assert not terminal.screen.cursor.hidden


def test_a_terminal_that_becomes_wider_is_used():
    terminal = Terminal(50)
    display = Display(terminal.console)
    display.draw(lambda: [Text("x" * display.cells)])
    terminal.screen.resize(columns=90)
    terminal.console.width = 90
    display.draw(lambda: [Text("x" * display.cells)])
    assert terminal.rows() == ["x" * 88]


def test_draws_that_come_too_early_are_left_out(monkeypatch):
    monkeypatch.setattr(terminal_display, "SECONDS_BETWEEN_DRAWS", 3600)
    terminal = Terminal()
    display = Display(terminal.console)
    display.draw(lambda: [Text("first")])
    display.draw(lambda: pytest.fail("too early"), now=False)
    display.draw(lambda: [Text("forced")])
    assert terminal.rows() == ["forced"]


def test_a_hint_is_overwritten_by_what_others_print():
    terminal = Terminal()
    display = Display(terminal.console)
    display.hint("Building the model")
    assert terminal.rows() == ["Building the model"]
    assert not terminal.screen.cursor.hidden
    terminal.write("Downloading weights from somewhere\n")
    assert terminal.rows() == ["Downloading weights from somewhere"]
    display.stop()
    assert terminal.rows() == ["Downloading weights from somewhere"]
    display.hint("Saving")
    display.draw(lambda: [Text("line")])
    assert terminal.rows()[1:] == ["line"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_an_interrupt_waits_for_the_frame_and_is_not_lost():
    terminal = Terminal()
    display = Display(terminal.console)
    write, pressed = terminal.write, []

    def interrupted(text):
        if "line" in text and not pressed:
            pressed.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        return write(text)

    terminal.write = interrupted
    with pytest.raises(KeyboardInterrupt):
        display.draw(lambda: [Text("line 1"), Text("line 2")])
    assert terminal.rows() == ["line 1", "line 2"]
    display.stop()
    assert terminal.rows() == []
    assert not terminal.screen.cursor.hidden


def test_what_is_printed_during_a_draw_goes_above(capsys):
    terminal = Terminal()
    reporter = RichReporter(console=terminal.console)
    train(reporter, 5, stop=5)
    print("a library speaks")
    reporter.on_epoch_progress(PHASE, 5, 800, 1000, 0.8)
    rows = terminal.rows()
    assert rows.index("a library speaks") < next(
        n for n, row in enumerate(rows) if row.startswith("Epoch ")
    )


def test_a_screen_with_fewer_rows_than_lines():
    terminal = Terminal(80, 4)
    reporter = RichReporter(console=terminal.console)
    train(reporter, 10, stop=10)
    assert any(row.startswith("Epoch 10/60") for row in terminal.rows())
    reporter.on_error(KeyboardInterrupt())
    assert not terminal.screen.cursor.hidden
