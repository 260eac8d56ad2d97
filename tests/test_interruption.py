import contextlib
import os
import re
import signal
import sys
import threading

import pytest

from tlkit import Phase, PhaseResult, Reporter, RunInfo, interruption
from tlkit.builtin.reporters import terminal
from tlkit.interruption import Interrupted, Watch, command_line

PHASE = Phase("frozen", 60, 10, 1000, 5, 5)


@pytest.fixture(autouse=True)
def _started_as_tlkit(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tlkit"])


def begun(folder):
    watch = Watch("tlkit run x")
    watch.on_stage("data")
    watch.on_run_begin(RunInfo("x", folder, {}, ("a", "b"), 8, 1, 1))
    return watch


def test_before_anything_is_there_nothing_is_kept():
    watch = Watch("tlkit run x")
    watch.on_stage("start")
    assert str(watch.interrupted()) == (
        "Interrupted while starting TensorFlow.\nNothing was kept yet.\nRun again: tlkit run x"
    )


def test_an_extraction_says_how_many_rows_the_next_run_goes_on_after(tmp_path):
    (tmp_path / "config.toml").touch()
    watch = begun(tmp_path)
    watch.on_extract_progress("train", 0, 1437, 0.0)
    assert "the features that are stored" not in str(watch.interrupted())
    watch.on_extract_progress("train", 512, 1437, 1.0, kept=0)
    text = str(watch.interrupted())
    assert text.startswith("Interrupted while computing features of train: none are stored yet.\n")
    assert "the features that are stored" not in text
    watch.on_extract_progress("train", 1100, 1437, 2.0, kept=1024)
    assert str(watch.interrupted()) == (
        "Interrupted while computing features of train: 1,024 of 1,437 images are stored, "
        "and the next run goes on after them.\nKept: the features that are stored; "
        f"{tmp_path} with config.toml.\nGo on: tlkit resume {tmp_path}"
    )


def test_a_training_keeps_the_epochs_that_are_over(tmp_path):
    (tmp_path / "config.toml").touch()
    watch = begun(tmp_path)
    watch.on_extract_progress("train", 8, 8, 1.0, kept=8)
    watch.on_phase_begin(PHASE)
    watch.on_epoch_progress(PHASE, 1, 500, 1000, 1.0)
    assert "the training" not in str(watch.interrupted())
    watch.on_epoch_end(PHASE, 1, {}, 1.0)
    watch.on_epoch_progress(PHASE, 2, 500, 1000, 1.0)
    first, kept, again = str(watch.interrupted()).splitlines()
    assert first == "Interrupted in epoch 2 of 60, phase frozen."
    assert kept == (
        "Kept: the features that are stored; the training up to there; "
        f"{tmp_path} with config.toml."
    )
    assert again == f"Go on: tlkit resume {tmp_path}"
    watch.on_phase_end(PhaseResult(PHASE, {}, 1.0))
    assert str(watch.interrupted()).startswith("Interrupted after phase frozen.")


def test_a_resumed_run_keeps_what_was_trained_before(tmp_path):
    (tmp_path / "config.toml").touch()
    watch = Watch(f"tlkit resume {tmp_path}", tmp_path, trained=True)
    watch.on_stage("start")
    assert str(watch.interrupted()) == (
        f"Interrupted while starting TensorFlow.\nKept: what was trained before; {tmp_path} with "
        f"config.toml.\nGo on: tlkit resume {tmp_path}"
    )
    watch.on_phase_begin(PHASE)
    assert "Kept: what was trained before;" in str(watch.interrupted())
    watch.on_epoch_end(PHASE, 43, {}, 1.0, restored=True)
    assert "Kept: the training up to there;" in str(watch.interrupted())


def test_what_is_in_the_folder_is_listed(tmp_path):
    for name in ("config.toml", "model.keras", ".model.keras-1"):
        (tmp_path / name).touch()
    watch = begun(tmp_path)
    watch.on_stage("saving")
    assert f"{tmp_path} with config.toml, model.keras." in str(watch.interrupted())
    for number in range(10):
        (tmp_path / f"x{number}").touch()
    assert "x3 and 6 more." in str(watch.interrupted())


def test_a_run_that_is_not_saved_has_no_folder():
    assert "Nothing was kept yet." in str(begun(None).interrupted())


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):  # Python handles the signal before one of the next instructions
        pass


def interrupted_while_testing():
    with Watch("tlkit run x") as watch:
        watch.on_stage("evaluation")
        press_ctrl_c()


def interrupted_in_a_destructor():
    with Watch("tlkit run x") as watch:
        with contextlib.suppress(KeyboardInterrupt):
            press_ctrl_c()
        watch.on_stage("saving")
        pytest.fail("the interrupt is lost")


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_an_interrupt_becomes_one_that_says_what_was_kept():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="while testing"):
        interrupted_while_testing()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_an_interrupt_that_was_dropped_is_raised_at_the_next_event():
    with pytest.raises(Interrupted, match="while saving"):
        interrupted_in_a_destructor()


def test_other_errors_pass():
    with pytest.raises(ValueError, match="other"), Watch("tlkit run x"):
        raise ValueError("other")


def test_in_another_thread_it_leaves_the_signal_alone():
    caught = []

    def work():
        try:
            with Watch("tlkit run x"):
                raise KeyboardInterrupt
        except Interrupted as err:
            caught.append(str(err))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("/usr/bin/tlkit", "tlkit run 'my file.toml' --set a.b=1"),
        ("/x/tlkit/__main__.py", "python -m tlkit run 'my file.toml' --set a.b=1"),
    ],
)
def test_the_command_can_be_given_to_a_shell(monkeypatch, program, command):
    monkeypatch.setattr(sys, "argv", [program])
    assert command_line(["run", "my file.toml", "--set", "a.b=1"]) == command


def test_the_watch_knows_every_event_and_stage_that_it_needs():
    own = {name for name in vars(Watch) if name.startswith("on_")}
    assert own <= set(vars(Reporter))
    stages = set(re.findall(r'``"(\w+)"``', Reporter.on_stage.__doc__))
    assert set(interruption._STAGES) == stages
    assert set(terminal._STAGES) == stages
