import functools
import json
import os
import signal
import subprocess
import sys
import time

import pytest

FAST = ("--set", "backbone.image_size=32", "--set", "workflow.epochs=2", "--set", "reporters=[]")
GRID = ("quickstart", "--heads", "linear,dense", *FAST)


@pytest.fixture
def call(tlkit_command):
    return functools.partial(tlkit_command, "compare")


def test_a_grid_and_its_runs_side_by_side(call, tmp_path):
    code, out, err = call(*GRID)
    assert code == 0, err
    assert "mobilenet_v2, linear" in out
    assert "McNemar's exact test" in out
    assert "comparison.png" in out
    assert "[1/2] mobilenet_v2, linear, seed 0" in err
    code, out, err = call(*GRID, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert [cell["reused"] for cell in document["cells"]] == [True, True]
    runs = sorted((tmp_path / "comparison" / "runs").iterdir())
    assert len(runs) == 2
    code, out, err = call(*runs)
    assert code == 0, err
    assert out.count(runs[0].name) >= 3
    assert "head.name: " in out
    found = json.loads(call(*runs, "--json")[1])
    assert found["pairs"][0]["first"] == runs[0].name
    assert found["pairs"][0]["images"] == 360


def test_few_shot_on_the_command_line(call):
    code, out, err = call("quickstart", "--heads", "prototype", "--few-shot", "2,all", *FAST)
    assert code == 0, err
    assert "per class" in out
    assert "comparison/few_shot.png" in out.replace("\\", "/")
    assert "[1/2] mobilenet_v2, prototype, 2 images per class, seed 0" in err


def test_a_failing_cell_exits_1_and_the_others_go_on(call):
    code, out, err = call(*GRID[:1], "--backbones", "vgg16,mobilenet_v2", *FAST)
    assert code == 1
    assert "Failed: vgg16, dense, seed 0" in out
    assert "[2/2] mobilenet_v2, dense, seed 0" in err
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quickstart"], "Nothing to compare"),
        (["quickstrat", "--heads", "linear"], "Did you mean 'quickstart'"),
        (["quickstart", "--heads", "linaer"], "Did you mean 'linear'"),
        (["quickstart", "--seeds", "0,x"], "whole numbers with commas"),
        (["quickstart", "--few-shot", "1,x"], "such as 1,5,20,all"),
        (["quickstart", "--few-shot", "1,-5"], "few_shot -5 is not allowed"),
        (["a", "b", "--few-shot", "1"], "--few-shot is for a grid"),
        (["quickstart", "classic", "--heads", "linear"], "Cannot compare quickstart, classic"),
        (["quickstart", "a"], "Cannot compare quickstart, a"),
        (["a", "b"], "There is no run folder a"),
        (["a", "b", "--heads", "linear"], "--heads is for a grid"),
        (["a", "b", "--set", "run.seed=1"], "--set is for a grid"),
        (["."], "Cannot compare ."),
        (
            ["cifar10", "--heads", "linear", "--set", "dataset.path=nothing"],
            "/nothing. Allowed: a cifar",
        ),
        (["missing.toml", "--heads", "linear"], "No such file"),
    ],
)
def test_bad_input_exits_2_with_one_error_and_no_traceback(call, arguments, message):
    code, out, err = call(*arguments)
    assert code == 2
    assert message in err
    assert out == ""
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT and SIGKILL")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_grid_goes_on_where_it_was(tmp_path, how):
    arguments = [
        *(sys.executable, "-m", "tlkit", "compare", "quickstart"),
        *("--heads", "linear,dense,mlp", "--set", "backbone.image_size=32"),
        *("--set", "workflow.epochs=100", "--set", "reporters=[]"),
    ]
    settings = {
        "cwd": tmp_path,
        "env": {**os.environ, "TLKIT_CACHE": str(tmp_path / "cache")},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    process = subprocess.Popen(arguments, **settings)
    for line in process.stderr:
        if line.startswith("[1/3]"):
            break
    runs = tmp_path / "comparison" / "runs"
    while len(list(runs.glob("*/config.toml"))) < 2:  # from then on it can be resumed
        time.sleep(0.05)
    for _ in range(5):
        # Python drops an interrupt that falls into a destructor; a person presses Ctrl-C again.
        process.send_signal(how)
        try:
            _, err = process.communicate(timeout=25)
            break
        except subprocess.TimeoutExpired:
            continue
    if how == signal.SIGINT:
        assert process.returncode == 130, err
        assert "Interrupted after 1 cell" in err
        assert "Traceback" not in err
    finished = [path for path in runs.iterdir() if (path / "run.json").is_file()]
    assert len(finished) < 3, "the grid ended before the signal"
    again = subprocess.run([*arguments, "--json"], **settings, check=True)
    cells = json.loads(again.stdout)["cells"]
    assert [cell["reused"] for cell in cells] == [True] * len(finished) + [False] * (
        3 - len(finished)
    )
    assert all(cell["figures"]["features_stored"] for cell in cells[1:])
    # The cell that was interrupted went on in its own folder.
    assert all((path / "run.json").is_file() for path in runs.iterdir())
    assert len(list(runs.iterdir())) == 3
