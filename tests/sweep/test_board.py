import io

import pytest
from rich.console import Console

from tlkit.sweep.board import LiveBoard, PlainBoard, trials_table
from tlkit.sweep.records import Settings, Trial

SETTINGS = Settings(trials=20)
VALUES = {
    "head.name": "dense",
    "head.units": 512,
    "workflow.learning_rate": 0.000123456,
    "backbone.name": "mobilenet_v2",
}


def make_trials(count):
    states = ("finished", "pruned", "failed")
    return [
        Trial(
            number,
            states[number % 3],
            VALUES,
            None if number % 3 == 2 else number / 20,
            epochs=3,
            seconds={"total": 1.25},
            error="a \x1b[31mred\nreason" if number % 3 == 2 else None,
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_live_board_fits_the_terminal(width):
    console = Console(width=width, file=io.StringIO(), force_terminal=True)
    board = LiveBoard("tiny", SETTINGS, console)
    for trial in make_trials(9):
        board.begin(trial.number, VALUES)
        board.status("frozen, epoch 1 of 3")
        board.end(trial)
    board.begin(9, VALUES)
    console = Console(width=width, file=io.StringIO())
    console.print(board.drawing())
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(console.file.getvalue().split())
    assert "9 of 20 trials, 3 pruned, 3 failed" in text
    assert "Trial 9: starting" in text
    assert "0.3000" in text  # the best one, number 6
    assert len(lines) <= 24 or width < 80


def test_in_a_pipe_each_trial_is_one_line_without_control_characters():
    file = io.StringIO()
    board = PlainBoard("tiny", SETTINGS, Console(file=file, width=80))
    for trial in make_trials(4):
        board.end(trial)
    lines = file.getvalue().splitlines()
    assert len(lines) == 4
    assert "\x1b" not in file.getvalue()
    assert lines[0].startswith("[1/20] trial 0: 0.0000 in 1.2 s  head.name=dense  units=512")
    assert "pruned after epoch 3 at 0.0500; best 0.0000 (trial 0)" in lines[1]
    assert "failed: a \\x1b[31mred\\x0areason" in lines[2]


@pytest.mark.parametrize(
    ("before", "said"),
    [(0, ""), (1, "1 trial before; 19 more to do.\n"), (20, "20 trials before; no more to do.\n")],
)
def test_a_sweep_that_goes_on_says_what_is_left(before, said):
    file = io.StringIO()
    PlainBoard("tiny", SETTINGS, Console(file=file, width=80)).known(tuple(make_trials(before)))
    assert file.getvalue() == said


def test_the_table_has_the_best_first_and_a_smaller_loss_is_better():
    console = Console(file=io.StringIO(), width=100)
    settings = Settings(metric="val_loss")
    console.print(trials_table(tuple(make_trials(9)), settings, 100, 2))
    first = [line.split()[0] for line in console.file.getvalue().splitlines()[2:]]
    assert [item for item in first if item.isdigit()] == ["0", "3"]
