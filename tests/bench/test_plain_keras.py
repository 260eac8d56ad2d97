import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import tlkit.bench

SCRIPT = Path(tlkit.bench.__file__).with_name("plain_keras.py")


def test_it_knows_nothing_of_tlkit():
    tree = ast.parse(SCRIPT.read_text())
    names = [
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None), *(alias.name for alias in node.names)]
    ]
    assert "keras" in names
    assert not [name for name in names if name and name.startswith("tlkit")]


def test_its_help_needs_no_keras():
    command = [sys.executable, "-X", "importtime", str(SCRIPT), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--image-size" in done.stdout
    assert "tensorflow" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("size", "units"), [("32", ["8", "16"]), ("48", ["8"])])
def test_a_tiny_job_from_pixels_to_saved_models(data, tmp_path, size, units):
    output = tmp_path / "output"
    command = [
        *(sys.executable, "-P", str(SCRIPT), str(data), "--output", str(output)),
        *("--image-size", size, "--units", *units, "--epochs", "1", "--images", "20"),
        *("--weights", "random", "--alpha", "0.35"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert set(last) == {"imports", "seconds", "accuracy"}
    assert last["imports"] > 0
    assert last["seconds"] > 0
    assert len(last["accuracy"]) == len(units)
    names = ("model-{}.keras", "model-{}.h5", "loss-{}.png", "confusion_matrix-{}.png")
    assert {path.name for path in output.iterdir()} == {
        name.format(number) for name in names for number in units
    }
    assert "precision" in done.stdout
