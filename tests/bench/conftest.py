"""Commands that pretend to be plain Keras and tlkit: they take milliseconds and log each call."""

import json
import sys

import numpy as np
import pytest

from tlkit.bench import measure

FAKE_PLAIN = """
import json, sys
log, output = sys.argv[1:3]
open(log, "a").write("plain\\n")
print("Epoch 1")
print(json.dumps({"imports": 0.0, "seconds": 24.0, "accuracy": json.loads(sys.argv[3])}))
"""
FAKE_TLKIT = """
import json, os, pathlib, sys
log, runs, name = sys.argv[1:4]
features = pathlib.Path(os.environ["TLKIT_CACHE"]) / "features"
warm = features.exists()
features.mkdir(exist_ok=True)
open(log, "a").write(f"{name} {'warm' if warm else 'cold'}\\n")
folder = pathlib.Path(runs) / "20250101-000000-x"
folder.mkdir(parents=True)
seconds = {"start": 5.0, "total": 5.5 if warm else 7.0}
record = {"seconds": seconds, "feature_cache": {}, "warnings": [], "test": {"accuracy": 0.5}}
(folder / "run.json").write_text(json.dumps(record))
"""


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """Replace the real commands; return a function that tells which ran since it was asked."""
    log = tmp_path / "log"

    def plain_command(case, data, output):
        accuracy = json.dumps([0.5] * len(case.variants[0].runs))
        return [sys.executable, "-c", FAKE_PLAIN, str(log), str(output), accuracy]

    def tlkit_commands(variant, data, output):
        return [
            [sys.executable, "-c", FAKE_TLKIT, str(log), str(output / str(number)), variant.name]
            for number, _ in enumerate(variant.runs, start=1)
        ]

    def tlkit_command(*arguments):
        # `-c "pass"` takes what follows as its own arguments.
        return [sys.executable, "-c", "pass", *arguments]

    monkeypatch.setattr(measure, "plain_command", plain_command)
    monkeypatch.setattr(measure, "tlkit_commands", tlkit_commands)
    monkeypatch.setattr(measure, "tlkit_command", tlkit_command)

    def ran():
        lines = log.read_text().splitlines() if log.exists() else []
        log.write_text("")
        return lines

    return ran


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.npz"
    random = np.random.default_rng(0)
    np.savez(
        path,
        x_train=random.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8),
        y_train=np.arange(20).reshape(-1, 1) % 10,
        x_test=random.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8),
        y_test=np.arange(10).reshape(-1, 1),
    )
    return path
