"""Trials on a real local Ray cluster of two processors."""

import json

import pytest

from tlkit.errors import ClusterError
from tlkit.sweep import Settings, run_sweep
from tlkit.sweep.board import Board

pytest.importorskip("optuna")
ray = pytest.importorskip("ray")
SPACE = {
    "head.units": {"choice": [8, 16]},
    "workflow.learning_rate": {"type": "float", "low": 1e-9, "high": 0.1, "log": True},
}
CHANGES = ["backbone.image_size=32", "workflow.epochs=4", "reporters=[]"]


@pytest.mark.slow
def test_trials_on_a_cluster_land_in_the_same_study_and_asha_ends_some(tmp_path):
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        found = run_sweep(
            "quickstart",
            SPACE,
            trials=9,
            sampler="random",
            overrides=CHANGES,
            output=tmp_path / "sweep",
            engine="ray",
            test=False,
        )
        assert ray.is_initialized()  # it was there before the sweep
    finally:
        ray.shutdown()
    assert len(found.trials) == 9
    assert {trial.state for trial in found.trials} == {"finished", "pruned"}
    processes = {trial.where for trial in found.trials}
    assert len(processes) >= 1
    for trial in found.trials:
        if trial.state == "pruned":
            assert 1 <= trial.epochs <= 4
            assert trial.value == trial.metrics["val_accuracy"]
    record = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert record["engine"] == "ray"
    assert record["best"] == found.best.number

    # The same study goes on in this process, with the same figures for the same values.
    again = run_sweep(
        "quickstart",
        SPACE,
        trials=10,
        sampler="random",
        overrides=CHANGES,
        output=tmp_path / "sweep",
        test=False,
    )
    assert again.trials[:9] == found.trials
    assert again.trials[9].state == "finished"


def test_a_wrong_address_is_told_before_the_first_trial(sweep):
    board = Board("test", Settings())
    with pytest.raises(ClusterError, match=r"Cannot reach .*--address"):
        sweep(engine="ray", address="127.0.0.1:1", board=board)
    assert not board.trials
