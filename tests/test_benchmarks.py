"""The benchmark scripts start, and the quickest of them runs on a small part."""

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
