"""The benchmark scripts start, and the quickest of them runs on a small part."""

import dataclasses
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "benchmarks"
NAMES = sorted(
    path.name for path in FOLDER.glob("*.py") if "argparse" in path.read_text(encoding="utf-8")
)


def run(name, *arguments):
    done = subprocess.run(
        [sys.executable, FOLDER / name, *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_script_is_listed():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(\w+\.py)`", text)) == {path.name for path in FOLDER.glob("*.py")}


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_needs(name):
    assert "usage" in run(name, "--help")


@pytest.mark.slow
def test_the_head_is_trained_on_each_side():
    out = run(
        "head_training.py", "--images", "640", "--width", "16", "--epochs", "1", "--rounds", "1"
    )
    assert len(re.findall(r"^.+ \d+\.\d s .+ x$", out, re.MULTILINE)) == 6


@pytest.fixture(scope="module")
def scale():
    spec = importlib.util.spec_from_file_location("scale", FOLDER / "scale.py")
    sys.modules["scale"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["scale"]


@pytest.mark.parametrize(
    ("limit", "compute", "moved", "changes"),
    [
        ("backbone and decoding", 8.0, (0, 0), {}),
        ("network of the workers", 0.1, (60e6, 1e6), {"gigabits": 0.5}),
        ("dispatch of shards", 0.1, (0, 0), {"dispatch_seconds": 0.5}),
    ],
)
def test_the_simulation_agrees_with_arithmetic_where_one_part_is_the_slowest(
    scale, limit, compute, moved, changes
):
    cluster = scale.Cluster(
        cores=4, shard_images=100, **({"dispatch_seconds": 0.001, "put_seconds": 0.01} | changes)
    )
    costs = scale.Costs(compute / 100, 0.0, 0.0, moved[0] / 100, moved[1] / 100)
    parts = scale.stages(costs, cluster, 400 * 100, 3)["extraction"]
    assert max(parts, key=parts.get) == limit
    found = scale.simulate(compute, cluster, 400, 3, moved=moved)
    assert parts[limit] <= found < 1.1 * parts[limit]


def test_more_machines_are_no_slower_and_the_slowest_part_moves(scale):
    costs = scale.Costs(0.01, 3e-5, 1e-5, 45_000, 5_120)
    plans = [scale.plan(costs, scale.Cluster(), 10**8, count) for count in scale.MACHINES]
    seconds = [item["seconds"] for item in plans]
    assert seconds == sorted(seconds, reverse=True)
    assert plans[0]["slowest"] == "backbone and decoding"
    assert plans[-1]["slowest"] != "backbone and decoding"
    dear = dataclasses.replace(scale.Cluster(), dollars_per_core_hour=0.17)
    twice = scale.plan(costs, dear, 10**8, 1)["compute_dollars"]
    assert twice == pytest.approx(2 * plans[0]["compute_dollars"])


def test_measured_points_are_compared_with_what_one_worker_predicts(scale, tmp_path):
    def point(workers, seconds, stand_in=500.0):
        return {
            "workers": workers, "stand_in_ms": stand_in, "shards": 40, "seconds": seconds,
            "cores": 2,
        }  # fmt: skip

    points = [point(1, 24.0), point(4, 6.0), point(1, 24.0, 0), point(4, 10.0, 0)]
    file = tmp_path / "points.json"
    file.write_text(json.dumps({"points": points}))
    out = run("scale.py", "check", file)
    # Stand-ins need no core; real work shares two, but for its waiting for the store.
    ratios = [float(text) for text in re.findall(r"([\d.]+) \|$", out, re.MULTILINE)]
    assert ratios == pytest.approx([1.0] * 4, abs=0.05)
