"""Whole sweeps of the tiny backbone; each trial takes a fraction of a second."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from tests.sweep.conftest import CONFIG, SPACE, make_registry
from tlkit.builtin.heads.dense import Dense
from tlkit.config.building import build_trainer
from tlkit.errors import ConfigError
from tlkit.sweep import Settings
from tlkit.sweep.board import Board

optuna = pytest.importorskip("optuna")
WORKER = """
import sys
from tests.sweep.conftest import SPACE, make_registry
from tlkit.features import FeatureStore
from tlkit.sweep import run_sweep

config, output, storage, trials = sys.argv[1:]
run_sweep(
    config, SPACE, trials=int(trials), output=output, storage=storage, test=False,
    store=FeatureStore(__import__("pathlib").Path(output).parent / "features"),
    registry=make_registry(), overrides=["reporters=[]"],
)
"""


def parameters(sweep):
    return [dict(trial.values) for trial in sweep.trials]


def test_a_sweep_keeps_its_trials_and_writes_the_best_config(sweep, tmp_path):
    found = sweep(test=True, trials=4)
    assert [trial.number for trial in found.trials] == [0, 1, 2, 3]
    assert {trial.state for trial in found.trials} == {"finished"}
    best = max(found.trials, key=lambda trial: trial.value)
    assert found.best.value == best.value
    assert found.best.metrics["val_loss"] > 0

    folder = tmp_path / "sweep"
    with (folder / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["val_accuracy"] for row in rows] == [str(item.value) for item in found.trials]
    record = json.loads((folder / "sweep.json").read_text())
    assert record["schema"] == "tlkit.sweep/1"
    assert record["best"] == found.best.number
    assert record["report"] is None or Path(record["report"]).is_file()

    # The best config runs as it is, and gives what the trial gave.
    trainer = build_trainer(str(folder / "best.toml"), registry=make_registry(), runs=None)
    assert (
        tomllib.loads((folder / "best.toml").read_text())["head"]["units"]
        == (found.best.values["head.units"])
    )
    result = trainer.run()
    assert result.phases[-1].figures()["val_accuracy"] == pytest.approx(found.best.value, abs=1e-6)

    # The two runs were tested, once each, and the same sweep again tests nothing.
    runs = sorted((folder / "runs").iterdir())
    assert len(runs) == (1 if found.tested.pair is None else 2)
    again = sweep(test=True, trials=4)
    assert sorted((folder / "runs").iterdir()) == runs
    assert again.trials == found.trials
    assert again.tested.best.figures == found.tested.best.figures


def test_the_config_itself_is_the_first_trial_where_it_lies_in_the_space(sweep, tmp_path):
    found = sweep(trials=1)
    assert parameters(found) == [{"head.units": 8, "workflow.learning_rate": 0.01}]
    other = sweep(
        {"head.units": {"type": "int", "low": 20, "high": 30}},
        trials=1,
        output=tmp_path / "other",
    )
    assert other.trials[0].values["head.units"] >= 20


def test_the_same_sweep_twice_gives_the_same_trials_and_going_on_gives_them_too(sweep, tmp_path):
    whole = sweep(trials=4, output=tmp_path / "whole")
    parts = [sweep(trials=count, output=tmp_path / "parts") for count in (2, 4)]
    assert parameters(parts[1]) == parameters(whole)
    assert [trial.metrics for trial in parts[1].trials] == [item.metrics for item in whole.trials]
    assert parts[1].trials[:2] == parts[0].trials


def test_a_trial_gives_what_a_run_gives(sweep, tmp_path, config):
    """Sharing the backbone and the features changes no figure."""
    found = sweep(trials=3)
    for trial in found.trials[1:]:
        changes = [f"{key}={value}" for key, value in trial.values.items()]
        run = build_trainer(
            str(config), [*changes, "reporters=[]"], registry=make_registry(), runs=None
        ).run()
        assert run.phases[-1].figures() == pytest.approx(dict(trial.metrics), rel=1e-5)


def test_conditions_other_heads_and_heads_that_are_solved(sweep):
    space = {
        "head.name": {"choice": ["dense", "prototype"]},
        "head.units": {"type": "int", "low": 2, "high": 9, "when": {"head.name": "dense"}},
    }
    found = sweep(space, trials=6, sampler="random", seed=2)
    assert {trial.state for trial in found.trials} == {"finished"}
    names = {trial.values["head.name"] for trial in found.trials}
    assert names == {"dense", "prototype"}
    for trial in found.trials:
        assert ("head.units" in trial.values) == (trial.values["head.name"] == "dense")


def test_fine_tuning_trials_start_from_the_pretrained_backbone_each(sweep, config):
    found = sweep(
        {"workflow.fine_tune_learning_rate": {"choice": [1e-4, 1e-2]}},
        trials=2,
        sampler="grid",
        overrides=["workflow.fine_tune_epochs=1", "workflow.epochs=1", "reporters=[]"],
    )
    assert [trial.epochs for trial in found.trials] == [2, 2]
    rate = found.trials[1].values["workflow.fine_tune_learning_rate"]
    run = build_trainer(
        str(config),
        [
            "workflow.fine_tune_epochs=1",
            "workflow.epochs=1",
            f"workflow.fine_tune_learning_rate={rate}",
            "reporters=[]",
        ],
        registry=make_registry(),
        runs=None,
    ).run()
    assert run.phases[-1].figures()["val_loss"] == pytest.approx(
        found.trials[1].metrics["val_loss"], rel=1e-4
    )


def test_a_pruned_trial_ends_after_its_epoch_and_the_sweep_goes_on(sweep):
    found = sweep(
        {"workflow.learning_rate": {"choice": [0.03, 1e-9]}},
        trials=9,
        pruner="median",
        sampler="random",
        overrides=["workflow.epochs=4", "workflow.learning_rate=0.03", "reporters=[]"],
    )
    pruned = [trial for trial in found.trials if trial.state == "pruned"]
    assert pruned
    assert {trial.values["workflow.learning_rate"] for trial in pruned} == {1e-9}
    for trial in pruned:
        assert 1 <= trial.epochs < 4
        assert trial.value == trial.metrics["val_accuracy"]
    assert found.best.values["workflow.learning_rate"] == 0.03


def test_a_failed_trial_says_why_and_the_others_go_on(sweep, monkeypatch):
    build = Dense.build

    def fail(self, *arguments):
        if max(self.units) > 12:
            raise ValueError("too wide\nfor a test")
        return build(self, *arguments)

    monkeypatch.setattr(Dense, "build", fail)
    found = sweep({"head.units": {"choice": [4, 8, 16]}}, trials=3, sampler="grid")
    (failed,) = [trial for trial in found.trials if trial.state == "failed"]
    assert "too wide" in failed.error
    assert failed.values == {"head.units": 16}
    assert found.best.values["head.units"] in (4, 8)
    assert found.count("finished") == 2


def test_a_smaller_loss_is_better(sweep):
    found = sweep(trials=4, metric="val_loss")
    assert found.best.value == min(trial.value for trial in found.trials)


def test_a_grid_ends_when_all_places_are_visited(sweep):
    found = sweep({"head.units": {"choice": [2, 4, 8]}}, trials=50, sampler="grid")
    assert sorted(trial.values["head.units"] for trial in found.trials) == [2, 4, 8]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"space": {"head.units": {"choice": [2, 4]}}}, "space.head.units.type was"),
        ({"metric": "val_loss"}, "settings.metric was 'val_accuracy' and is 'val_loss'"),
        ({"overrides": ["workflow.epochs=3", "reporters=[]"]}, "workflow.epochs was 2 and is 3"),
        ({"overrides": ["dataset.count=60", "reporters=[]"]}, "data.train was"),
    ],
)
def test_another_sweep_in_the_same_study_is_refused_with_what_differs(sweep, changes, said):
    sweep(trials=1)
    with pytest.raises(ConfigError, match=r"is of another sweep") as caught:
        sweep(**{"trials": 1, **changes})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"overrides": ['run.validation="test"']}, "chosen by the test images"),
        ({"space": {"head.untis": {"choice": [1, 2]}}}, "Did you mean 'units'"),
        ({"space": {"head.dropout": {"type": "float", "low": 0.0, "high": 1.5}}}, "dropout"),
        ({"space": {"head.units": {"type": "float", "low": 1.0, "high": 2.5}}}, "a whole number"),
        ({"space": {"head.name": {"choice": ["dense", "dnese"]}}}, "Did you mean 'dense'"),
        ({"metric": "f1"}, "val_accuracy, val_loss"),
        ({"output": "s3://bucket/sweep"}, "is a URL"),
        ({"output": Path("s3://bucket/sweep")}, "is a URL"),
        ({"address": "head:6379"}, "Add --on ray"),
        ({"storage": "nowhere"}, "--storage is no storage"),
    ],
)
def test_bad_input_gets_one_error_before_the_first_trial(sweep, changes, said, tmp_path):
    with pytest.raises(Exception) as caught:  # noqa: PT011 (two kinds of TlkitError)
        sweep(**changes)
    assert said in str(caught.value)
    assert not (tmp_path / "sweep").exists()


class _Interrupts(Board):
    """Ctrl-C in the middle of a trial."""

    def __init__(self, at, settings):
        super().__init__("test", settings)
        self.at = at

    def status(self, text):
        if "epoch 1" in text and max(self.at_work, default=0) == self.at:
            raise KeyboardInterrupt


def test_an_interrupt_keeps_all_and_the_trial_at_work_is_tried_again(sweep, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        sweep(trials=4, board=_Interrupts(2, Settings(trials=4)))
    record = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert [trial["number"] for trial in record["trials"]] == [0, 1]
    whole = sweep(trials=4, output=tmp_path / "whole")
    found = sweep(trials=4)
    assert len(found.trials) == 4
    assert parameters(found)[:2] == parameters(whole)[:2]
    assert dict(whole.trials[2].values) in parameters(found)


def start(tmp_path, storage, trials, output="sweep"):
    config = tmp_path / "tiny.toml"
    config.write_text(CONFIG)
    arguments = [str(config), str(tmp_path / output), storage, str(trials)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *arguments], env=environment, stderr=subprocess.PIPE
    )


@pytest.mark.slow
def test_two_processes_share_one_study_and_no_trial_is_done_twice(tmp_path):
    storage = f"journal:{tmp_path}/study.log"
    both = [start(tmp_path, storage, 8, f"sweep-{number}") for number in range(2)]
    for process in both:
        _, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors.decode()
    study = optuna.load_study(
        study_name="tiny",
        storage=optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.log"))
        ),
    )
    finished = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    assert len(finished) == 8
    assert len({str(trial.params) for trial in finished}) == 8
    records = [
        json.loads((tmp_path / f"sweep-{number}" / "sweep.json").read_text()) for number in range(2)
    ]
    assert max(len(record["trials"]) for record in records) == 8


@pytest.mark.slow
def test_after_a_kill_the_same_command_goes_on_with_the_trial_that_was_at_work(tmp_path, sweep):
    storage = f"sqlite:///{tmp_path}/study.db"
    process = start(tmp_path, storage, 1000)
    url = optuna.storages.RDBStorage(storage)
    end = time.monotonic() + 120
    while time.monotonic() < end:
        time.sleep(0.1)
        try:
            states = [
                item.state.name for item in optuna.load_study(study_name="tiny", storage=url).trials
            ]
        except KeyError:
            continue
        if states.count("COMPLETE") >= 3 and states[-1] == "RUNNING":
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = optuna.load_study(study_name="tiny", storage=url).trials
    done = [trial for trial in before if trial.state.name == "COMPLETE"]
    running = [trial for trial in before if trial.state.name == "RUNNING"]
    found = sweep(trials=len(done) + 2, storage=storage)
    assert len(found.trials) == len(done) + 2
    assert found.at_work == 0
    assert [trial.value for trial in found.trials[: len(done)]] == [item.value for item in done]
    for trial in running:
        # Killed between two of its draws, it has some of its values.
        assert any(trial.params.items() <= values.items() for values in parameters(found))


def test_importance_and_its_limits(sweep):
    assert "too few" in sweep(trials=1).importance.reason
    found = sweep(trials=12, sampler="random", study="random").importance
    assert found.evaluator == "fANOVA"
    assert set(found.shares) == set(SPACE)
    assert sum(found.shares.values()) == pytest.approx(1)


def test_python_and_a_file_give_the_same_space(tmp_path, config, sweep):
    path = tmp_path / "space.toml"
    path.write_text('["head.units"]\ntype = "int"\nlow = 2\nhigh = 32\nlog = true\n')
    found = sweep(path, trials=1)
    assert found.space["head.units"]["high"] == 32
    assert (tmp_path / "sweep" / "space.toml").read_text() == path.read_text()
