import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image


@pytest.fixture
def call(tlkit_command):
    return tlkit_command


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


def test_plugins_of_one_kind(call):
    code, out, _ = call("plugins", "--kind", "head")
    assert code == 0
    assert "prototype" in out
    assert "mobilenet_v2" not in out
    found = json.loads(call("plugins", "--kind", "workflow", "--json")[1])
    assert {item["kind"] for item in found["plugins"]} == {"workflow"}
    code, _, err = call("plugins", "--kind", "heads")
    assert code == 2
    assert "Unknown kind 'heads'. Did you mean 'head'? Allowed: backbone, head" in err


def test_plugins_tells_what_the_variable_leaves_out(call, monkeypatch):
    monkeypatch.setenv("TLKIT_PLUGINS", "nobodys-plugin")
    found = json.loads(call("plugins", "--json")[1])
    assert {item["distribution"] for item in found["plugins"]} == {"tlkit"}
    assert "TLKIT_PLUGINS names 'nobodys-plugin'" in found["warnings"][0]
    said = call("plugins")[2]
    assert "Warning: TLKIT_PLUGINS names 'nobodys-plugin'" in said
    assert not found["left_out"] or f"Left out by TLKIT_PLUGINS: {found['left_out'][0]}" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "clasic"], "Did you mean 'classic'"),
        (["run", "classic", "--set", "backbone.nam=x"], "Unknown key 'nam'"),
        (["run", "classic", "--set", "backbone.name=mobilnet_v2"], "Did you mean 'mobilenet_v2'"),
        (["run", "missing.toml"], "No such file"),
        (["recipes", "show", "x"], "Unknown recipe"),
        (["predict", "nothing", "a.png"], "There is no run folder nothing"),
        (["predict", "nothing", "a.png", "--out", "a.xls"], "Allowed: .csv, .json, .jsonl"),
        (
            ["run", "cifar10", "--set", "dataset.path=nothing"],
            "/nothing. Allowed: a cifar-10",
        ),
        (["run", "cifar10", "--set", "head.units", "5"], "Did you mean --set head.units=5?"),
        (["run", "cifar10", "--set", "head.units=", "5"], "Did you mean --set head.units=5?"),
        (["run", "cifar10", "--set", "head.units", "=", "5"], "Did you mean --set head.units=5?"),
        (["run", "cifar10", "--set", "head", "units=5"], "Did you mean --set head.units=5?"),
        (
            ["run", "cifar10", "--set", "dataset.path=my", "pictures"],
            "stands in quotes: --set 'dataset.path=my pictures'",
        ),
        (["compare", "cifar10", "linear", "--heads", "mlp,"], "and no spaces: --heads A,B."),
        (["run", "cifar10", "head.units=5"], "Did you mean --set head.units=5?"),
        (["run", "cifar10", "--units", "5"], "Did you mean --set head.units=...?"),
        (["run", "cifar10", "--unknown", "5"], "No such option: --unknown\n"),
        (["train", "cifar10"], "No such command 'train'. Commands: run, resume,"),
        (["recipes", "show", "./mine.toml"], "Available: cifar10, cifar10-fine-tune, classic,"),
        (["check", "linaer"], "the folder TLKIT_PLUGIN_FOLDER. In a file elsewhere?"),
        (["report", "runs/a", "runs/b"], "(runs/b). This command takes one run. Does a pattern"),
        (["export", "runs/a", "runs/b", "--to", "onnx"], "fit several? Name one of them."),
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
    assert out.count(" %") == 2
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
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(
    ("shown", "stage", "kept", "again"),
    [
        ("Starting TensorFlow", "while starting TensorFlow.", None, "Run again"),
        ("64 of 1,437", "while computing features of train: ", "stored", "Go on"),
        ("best", "(in|after) epoch ", "the training up to there", "Go on"),
        ("Saving", "while (testing|saving).", "config.toml", "Go on"),
    ],
)
def test_ctrl_c_leaves_a_clean_screen_and_says_how_to_go_on(tmp_path, shown, stage, kept, again):
    pyte = pytest.importorskip("pyte", reason="pyte renders the screen: pip install 'tlkit[test]'")
    epochs = 2 if shown == "Saving" else 100_000
    process, descriptor = in_terminal(tmp_path, epochs)
    screen = pyte.Screen(100, 40)
    stream, raw, pressed = pyte.ByteStream(screen), b"", 0.0
    while (data := read_terminal(descriptor)) is not None:
        raw += data
        stream.feed(data)
        if not pressed and any(shown in line for line in screen.display):
            pressed = time.monotonic()
            os.write(descriptor, b"\x03")
    os.close(descriptor)
    code = process.wait(60)
    rows = [line.rstrip() for line in screen.display if line.strip()]
    assert pressed, rows
    assert code == 130, rows
    assert not screen.cursor.hidden
    assert b"Traceback" not in raw
    begins = [number for number, row in enumerate(rows) if row.startswith("Interrupted")]
    assert len(begins) == 1, "\n".join(rows)
    (begin,) = begins
    message = " ".join(rows[begin:])
    assert re.match(f"Interrupted {stage}", message)
    assert (kept or "Nothing was kept yet.") in message
    command = "resume runs/" if kept else "run quickstart"
    assert f"{again}: python -m tlkit {command}" in message
    # No bar is left, and the epochs so far are there once.
    assert not any(row.startswith(("Epoch 1", "Features of train  ")) for row in rows)
    assert sum(row.split()[0].startswith("1/") for row in rows) == (shown in ("best", "Saving"))
    folders = list((tmp_path / "runs").iterdir()) if (tmp_path / "runs").exists() else []
    assert [sorted(item.name for item in folder.iterdir()) for folder in folders] == (
        [[".checkpoint", "config.toml"]] * (kept is not None)
    )


def in_terminal(folder, epochs):
    """Start a run in a terminal of 100 columns; return the process and the terminal's other end."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tlkit", "run", "quickstart", "--set", f"workflow.epochs={epochs}"],
        cwd=folder,
        env={**environment, "TLKIT_CACHE": str(folder / "cache"), "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    return process, ours


def read_terminal(descriptor):
    """Return what comes next; None at the end."""
    try:
        return os.read(descriptor, 65536) or None
    except OSError:  # Linux's way to say so
        return None


@pytest.mark.slow
def test_an_error_is_shown_once_and_whole(call):
    code, out, err = call("run", "quickstart", "--set", "workflow.learning_rate=1e30")
    assert code == 1
    assert "The training loss became" in err
    assert "check the data for broken images" in err
    assert "loss became" not in out


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_exits_130_and_says_what_was_kept(tmp_path, ending):
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
        process.send_signal(ending)
        try:
            _, err = process.communicate(timeout=25)
            break
        except subprocess.TimeoutExpired:
            continue
    else:
        process.kill()
        pytest.fail("five interrupts did not end the run")
    assert process.returncode == 130, err
    assert "Kept: the features that are stored; the training up to there; runs/" in err
    assert "Go on: python -m tlkit resume runs/" in err
    assert err.count("Interrupted") == 1
    assert "Traceback" not in err
    (folder,) = (tmp_path / "runs").iterdir()
    assert sorted(item.name for item in folder.iterdir()) == [".checkpoint", "config.toml"]
