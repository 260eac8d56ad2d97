import json
import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from tlkit import cli


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tlkit.runtime.keep_freed_memory", lambda: True)

    def call(*arguments):
        with pytest.raises(SystemExit) as caught:
            cli.main([str(item) for item in arguments])
        output = capsys.readouterr()
        return caught.value.code or 0, output.out, output.err

    return call


def test_version_help_and_recipes(call):
    assert call("--version")[1].startswith("tlkit ")
    code, out, _ = call("recipes")
    assert code == 0
    assert all(name in out for name in ("classic", "cifar10", "quickstart"))
    code, out, _ = call("recipes", "show", "classic")
    assert 'preprocessing = "unit"' in out


def test_plugins_as_table_and_json(call):
    code, out, _ = call("plugins")
    assert code == 0
    assert "freeze_and_train" in out
    found = json.loads(call("plugins", "--json")[1])
    assert found["schema"] == "tlkit.plugins/1"
    assert {"kind", "name", "distribution", "version", "summary"} <= set(found["plugins"][0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "clasic"], "Did you mean 'classic'"),
        (["run", "classic", "--set", "backbone.nam=x"], "Unknown key 'nam'"),
        (["run", "classic", "--set", "backbone.name=mobilnet_v2"], "Did you mean 'mobilenet_v2'"),
        (["run", "missing.toml"], "No such file"),
        (["recipes", "show", "x"], "Unknown recipe"),
        (["predict", "nothing", "a.png"], "There is no file"),
        (["run", "cifar10", "--set", "dataset.path=nothing"], "there is no nothing"),
    ],
)
def test_bad_input_exits_2_with_one_error_and_no_traceback(call, arguments, message):
    code, _, err = call(*arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [["rnu"], ["run"], ["plugins", "--jsn"]])
def test_a_wrong_command_exits_2(call, arguments):
    assert call(*arguments)[0] == 2


@pytest.mark.slow
def test_quickstart_predict_and_cache(call, tmp_path):
    code, out, err = call("run", "quickstart", "--set", "workflow.epochs=2")
    assert code == 0, err
    assert "Test accuracy" in out
    (folder,) = (tmp_path / "runs").iterdir()
    names = {item.relative_to(folder).as_posix() for item in folder.rglob("*")}
    assert {
        "config.toml", "run.json", "model.keras", "predictions.npz", "metrics.json", "history.csv",
        "confusion_matrix.csv", "predictions.csv", "plots/curves.png", "plots/confusion_matrix.png",
    } <= names  # fmt: skip
    code, out, err = call("run", folder / "config.toml")
    assert code == 0, err
    assert "stored" in out
    first, again = (
        json.loads((item / "run.json").read_text())
        for item in sorted((tmp_path / "runs").iterdir())
    )
    assert first["test"] == again["test"]

    Image.new("RGB", (20, 20), "white").save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("broken")
    code, out, err = call("predict", folder, tmp_path / "a.png", "--top", 2)
    assert code == 0, err
    assert out.count("%") == 2
    code, out, err = call("predict", folder, tmp_path / "a.png", tmp_path / "b.png", "--json")
    assert code == 1
    found = json.loads(out)["predictions"]
    assert found[0]["error"] is None
    assert 0 <= found[0]["confidences"][0] <= 1
    assert "b.png" in found[1]["error"]

    listed = call("cache", "list")[1]
    assert "mobilenet_v2" in listed
    assert "train" in listed
    assert "float32" in listed
    assert len(json.loads(call("cache", "list", "--json")[1])["entries"]) == 2
    assert "Freed" in call("cache", "clear")[1]
    assert json.loads(call("cache", "list", "--json")[1])["entries"] == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_an_interrupt_exits_130_and_says_what_was_kept(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "tlkit", "run", "quickstart", "--set", "workflow.epochs=100000"],
        cwd=tmp_path,
        env={**os.environ, "TLKIT_CACHE": str(tmp_path / "cache"), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if "3/100000" in line:
            break
    time.sleep(0.2)
    for _ in range(5):
        # Python drops an interrupt that falls into a destructor; a person presses Ctrl-C again.
        process.send_signal(signal.SIGINT)
        try:
            _, err = process.communicate(timeout=25)
            break
        except subprocess.TimeoutExpired:
            continue
    else:
        process.kill()
        pytest.fail("five interrupts did not end the run")
    assert process.returncode == 130, err
    assert "Kept:" in err
    assert "Traceback" not in err
    (folder,) = (tmp_path / "runs").iterdir()
    assert [item.name for item in folder.iterdir()] == ["config.toml"]
