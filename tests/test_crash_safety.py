"""kill -9 at random moments: what is on disk is whole, and a resumed run ends as if uninterrupted.

``TLKIT_KILLS=200`` asks for more moments than the usual ones. Half of them are chosen by the clock,
half by the number of files that the run has opened, made, renamed or deleted so far: the latter
find the gaps between two steps of a write.
"""

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.crash_job import SHARD_BYTES
from tlkit import shards
from tlkit.atomic import UNFINISHED
from tlkit.checkpoint import CHECKPOINT
from tlkit.features import FeatureStore

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL"),
]

KILLS = int(os.environ.get("TLKIT_KILLS", "12"))
SEED = int(os.environ.get("TLKIT_KILLS_SEED", "0"))


def run_folder(folder: Path) -> Path | None:
    found = sorted((folder / "runs").glob("*/config.toml")) if (folder / "runs").exists() else []
    return found[0].parent if found else None


def check_whole(folder: Path) -> None:
    """Read every file; only those that bear the mark of an unfinished write may be damaged."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name.startswith(UNFINISHED) or path.name == "lock":
            continue
        content = path.read_bytes()
        if path.suffix == ".json":
            json.loads(content)
        elif path.suffix == ".toml":
            tomllib.loads(content.decode())
        elif path.suffix == ".csv":
            rows = list(csv.reader(io.StringIO(content.decode())))
            assert len({len(row) for row in rows}) == 1, path
        elif path.suffix in (".keras", ".npz", ".zip"):
            with zipfile.ZipFile(path) as archive:
                assert archive.testzip() is None, path
        elif path.suffix == ".h5":
            with h5py.File(path) as file:
                assert file.keys()
        elif path.name == "features.npy":
            assert FeatureStore(path.parent.parent).find(path.parent.name) is not None, path
        else:
            assert path.name in ("features.partial", "shards.sha256", "classification_report.txt")
            assert content or path.name != "classification_report.txt"


def outcome(folder: Path):
    """Return what a run found out, without seconds, and the weights of its model."""
    found = run_folder(folder)
    record = json.loads((found / "run.json").read_text())
    phases = [{**phase, "seconds": 0} for phase in record["phases"]]
    weights = {}
    with h5py.File(found / "model.h5") as file:
        file.visititems(
            lambda name, item: weights.update({name: item[()]}) if hasattr(item, "shape") else None
        )
    return {"test": record["test"], "phases": phases}, weights


class Jobs:
    """A process that has imported TensorFlow, and makes a child of itself for each job."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash_job"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, folder, resumed=None, kill_at=0, seconds=0.0):
        """Run a job, or kill it at an operation or after so many seconds; return its exit code."""
        request = [str(folder), resumed and str(resumed), kill_at, seconds]
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def jobs():
    made = Jobs()
    yield made
    made.process.stdin.close()
    made.process.wait(30)


@pytest.fixture(scope="module")
def reference(jobs, tmp_path_factory):
    """The uninterrupted run: its folder, its seconds and its operations on files."""
    folder = tmp_path_factory.mktemp("reference") / "whole"
    folder.mkdir()
    begin = time.monotonic()
    assert jobs.run(folder) == 0
    seconds = time.monotonic() - begin
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD_BYTES", SHARD_BYTES)
        check_whole(folder)
    return folder, seconds, int((folder.parent / "whole.operations").read_text())


@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_run_leaves_whole_files_and_ends_as_if_uninterrupted(
    jobs, reference, tmp_path, monkeypatch, number
):
    monkeypatch.setattr(shards, "SHARD_BYTES", SHARD_BYTES)
    whole, seconds, operations = reference
    draw = random.Random(f"{SEED} {number}")
    # Two kills, of which one is by the clock; the third attempt is left alone.
    for attempt in range(3):
        resumed = run_folder(tmp_path)
        if resumed is not None and (resumed / "run.json").exists():
            break
        by_clock = (number + attempt) % 2
        code = jobs.run(
            tmp_path,
            resumed,
            kill_at=0 if by_clock or attempt == 2 else draw.randint(1, operations),
            seconds=draw.uniform(0, seconds) if by_clock and attempt < 2 else 0.0,
        )
        assert code in (0, -signal.SIGKILL)
        check_whole(tmp_path)
    (expected, weights), (found, now) = outcome(whole), outcome(tmp_path)
    assert found == expected
    assert weights.keys() == now.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(now[name], value)
    if code == 0:
        assert not list(run_folder(tmp_path).rglob(f"{UNFINISHED}*"))
        assert not (run_folder(tmp_path) / CHECKPOINT).exists()
