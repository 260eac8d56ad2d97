"""Every example does what its README says, by the commands that stand there."""

import os
import re
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from tlkit.testing import run_checks
from tlkit.testing.finding import find

EXAMPLES = Path(__file__).parent.parent / "examples"
READMES = sorted(EXAMPLES.glob("*/README.md"))
KINDS = ("backbone", "head", "reporter", "dataset", "workflow", "engine")
# These need what cannot be made on the spot: CIFAR-10, or ImageNet weights.
REAL = ("classic", "swap_backbones")
# Figures of another processor may differ by so many points.
POINTS = 6.0
NUMBER = re.compile(r"\d+\.\d+(?= %)")


def blocks(readme, language):
    """Return the lines of a README's blocks of one language."""
    text = readme.read_text(encoding="utf-8")
    found = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line for block in found for line in block.splitlines()]


def settings_of(readme):
    marks = [pytest.mark.slow] + [pytest.mark.real_data] * (readme.parent.name in REAL)
    return pytest.param(readme, id=readme.parent.name, marks=marks)


@pytest.mark.parametrize(
    "readme", [settings_of(item) for item in READMES if item.parent.name != "notebook"]
)
def test_the_commands_do_what_is_said(readme, tmp_path, monkeypatch, call_line):
    home, changes = os.environ.get("TLKIT_TEST_HOME"), ""
    if readme.parent.name in REAL:
        if not home:
            pytest.skip("TLKIT_TEST_HOME is not set: no real CIFAR-10 and no real weights")
        monkeypatch.setenv("KERAS_HOME", str(Path(home) / "keras"))
        config = readme.parent / "config.toml"
        if 'name = "cifar10"' in config.read_text():
            changes = f'name = "cifar10"\npath = "{home}/cifar10.npz"'
    work = tmp_path / "examples" / readme.parent.name
    shutil.copytree(readme.parent, work)
    shutil.copytree(EXAMPLES / "consumers", tmp_path / "examples" / "consumers")
    if changes:
        text = (work / "config.toml").read_text().replace('name = "cifar10"', changes)
        (work / "config.toml").write_text(text)
    monkeypatch.chdir(work)
    printed = "".join("".join(call_line(line)) for line in blocks(readme, "sh"))
    lines = printed.splitlines()
    for expected in blocks(readme, "text"):
        words = NUMBER.sub("NUMBER", expected).split()
        pattern = r"\s+".join(map(re.escape, words)).replace("NUMBER", r"(\d+\.\d+)")
        found = next((match for line in lines if (match := re.search(pattern, line))), None)
        assert found, f"{expected!r} is not among:\n{printed}"
        lines = lines[lines.index(found.string) + 1 :]
        wanted = [float(text) for text in NUMBER.findall(expected)]
        assert [float(text) for text in found.groups()] == pytest.approx(wanted, abs=POINTS)


@pytest.mark.slow
@pytest.mark.real_data
def test_the_notebook_runs(tmp_path, monkeypatch):
    home = os.environ.get("TLKIT_TEST_HOME")
    if not home:
        pytest.skip("TLKIT_TEST_HOME is not set: no real CIFAR-10 and no real weights")
    monkeypatch.setenv("KERAS_HOME", str(Path(home) / "keras"))
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    notebook = nbformat.read(EXAMPLES / "notebook" / "exercise.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    with np.load(Path(home) / "cifar10.npz") as whole:
        part = {key: whole[key][: 2000 if "train" in key else 500] for key in whole.files}
    np.savez(tmp_path / "part.npz", **part)
    source = {"name": "cifar10", "path": str(tmp_path / "part.npz")}
    for cell in notebook.cells:
        cell.source = cell.source.replace('dataset="cifar10"', f"dataset={source!r}")
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ())
    )
    figures = [float(text) for text in re.findall(r"(\d+\.\d+)%", printed)]
    exercise, small_unit, small_native, unit, native = figures
    assert 15 < exercise < 45
    assert max(small_unit, small_native) < unit < native
    assert (tmp_path / "runs").is_dir()


def test_each_example_has_its_readme_and_is_short():
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    listed = set(re.findall(r"^\| \[?`(\w+)`", (EXAMPLES / "README.md").read_text(), re.MULTILINE))
    assert folders == listed
    with_readme = {path.parent.name for path in READMES}
    assert folders - with_readme == {"consumers", "pretrain_mobilenet_v2_cifar10"}
    assert {f"custom_{kind}" for kind in KINDS} <= with_readme
    for name in with_readme:
        for path in (EXAMPLES / name).glob("*.[pt][yo]*"):
            assert len(path.read_text().splitlines()) <= 60, path


@pytest.mark.parametrize("kind", KINDS)
def test_the_custom_plugin_conforms(kind):
    file = EXAMPLES / f"custom_{kind}" / "run.py"
    (found,) = find(str(file), kind, {})
    outcomes = run_checks(found.make)
    assert {item.check: item.reason for item in outcomes if item.status != "passed"} == {}
