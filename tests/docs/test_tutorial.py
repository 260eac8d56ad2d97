"""The tutorial, command by command, in its order and in one folder."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.docs.blocks import ROOT, blocks

PAGE = "docs/tutorial.md"
# What the tests cannot do again: tlkit is installed already.
INSTALLATION = ("python -m venv", ". .venv/bin/activate", "pip install")
# In place of a download: all 50,000 pictures where the page gives their figure, else 2,000.
DATA = {"run classic": "cifar10.npz", " cifar10": "cifar10-lossless.npz"}
POINTS = 6.0


@pytest.mark.slow
@pytest.mark.real_data
def test_the_tutorial(tmp_path, monkeypatch, call_line):
    home = os.environ.get("TLKIT_TEST_HOME")
    if not home:
        pytest.skip("TLKIT_TEST_HOME is not set: no real CIFAR-10 and no real weights")
    shutil.copytree(ROOT / "examples" / "own_pictures", tmp_path / "examples" / "own_pictures")
    monkeypatch.setenv("KERAS_HOME", f"{home}/keras")
    monkeypatch.chdir(tmp_path)
    printed = expected = ""
    for block in [item for item in blocks() if item.page == PAGE]:
        if block.language == "sh":
            lines = [line for line in block.text.splitlines() if not line.startswith(INSTALLATION)]
            printed = "".join(call_line(with_data(line, home)).out for line in lines)
        elif block.language == "python":
            done = subprocess.run(
                [sys.executable, "-c", block.text], capture_output=True, text=True
            )
            assert done.stdout.strip() == "3", done.stderr
        elif block.language == "text" and printed:
            expected += block.text
            check(block.text, printed)
    assert expected.count("Test accuracy") == 4


def with_data(line, home):
    for part, data in DATA.items():
        if part in line and "dataset.name" not in line:
            return f"{line} --set dataset.path={home}/{data}"
    return line


def check(expected, printed):
    for line in expected.splitlines():
        figure = re.fullmatch(r"Test accuracy (\d+\.\d) %", line)
        if figure:
            found = re.search(r"Test accuracy\s+(\d+\.\d) ?%", printed)
            assert found, printed
            assert abs(float(found[1]) - float(figure[1])) < POINTS, f"{line}: {found[0]}"
        elif line.startswith("pictures/") and "  " in line:
            assert re.search(rf"{line.split()[0]}\s+{line.split()[1]}\b", printed), printed
