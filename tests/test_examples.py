"""Every example runs, as a user would run it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tlkit.testing import run_checks
from tlkit.testing.finding import find

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/run.py"))


def test_there_is_an_example_for_each_kind_of_plugin():
    kinds = ("backbone", "head", "reporter", "dataset", "workflow", "engine")
    assert {f"custom_{kind}" for kind in kinds} <= set(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_example_runs(name, tmp_path):
    done = subprocess.run(
        [sys.executable, EXAMPLES / name / "run.py"],
        cwd=tmp_path,
        env={**os.environ, "TLKIT_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout.lower()
    assert len(list((tmp_path / "runs").iterdir())) == 1


@pytest.mark.parametrize("kind", ["backbone", "head", "reporter", "dataset", "workflow", "engine"])
def test_the_custom_plugin_conforms(kind):
    file = EXAMPLES / f"custom_{kind}" / "run.py"
    (found,) = find(str(file), kind, {})
    outcomes = run_checks(found.make)
    assert {item.check: item.reason for item in outcomes if item.status != "passed"} == {}
