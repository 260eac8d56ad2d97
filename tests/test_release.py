"""What is published: a wheel and an sdist, the same from the same files, and clean."""

import hashlib
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import tlkit

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def run(*command, cwd):
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)], cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Two builds of the same files; the second in another folder, with other times of files."""
    found = []
    for number in range(2):
        folder = tmp_path_factory.mktemp(f"build{number}")
        source = folder / "source"
        tracked = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.splitlines()
        if not tracked:
            pytest.skip("not a clone")
        for name in tracked:
            if not (ROOT / name).is_file():
                continue
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((ROOT / name).read_bytes())
        run("hatchling", "build", "--directory", folder / "dist", cwd=source)
        found.append({path.name: path for path in (folder / "dist").iterdir()})
    return found


def test_the_same_files_make_the_same_wheel_and_sdist(built):
    first, second = built
    assert sorted(first) == sorted(second)
    assert sorted(path.suffix for path in first.values()) == [".gz", ".whl"]
    for name, path in first.items():
        assert (
            hashlib.sha256(path.read_bytes()).digest()
            == hashlib.sha256(second[name].read_bytes()).digest()
        ), name


def test_twine_and_check_wheel_contents_find_nothing(built, tmp_path):
    files = list(built[0].values())
    assert "PASSED" in run("twine", "check", "--strict", *files, cwd=tmp_path)
    (wheel,) = (path for path in files if path.suffix == ".whl")
    # The built-in plugins of each kind have an __init__.py with their hook, and some are empty.
    run("check_wheel_contents", wheel, cwd=tmp_path)


def test_the_wheel_holds_the_package_and_what_it_reads(built):
    (wheel,) = (path for path in built[0].values() if path.suffix == ".whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "tlkit").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert str(path.relative_to(ROOT)) in names
    assert not [name for name in names if name.startswith(("tests/", "examples/", "plugins/"))]


def test_the_sdist_holds_what_its_tests_need(built):
    (sdist,) = (path for path in built[0].values() if path.suffix == ".gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"pyproject.toml", "README.md", "LICENSE", "CITATION.cff", "tests/conftest.py"}
    assert needed <= names


def test_the_version_stands_in_one_place(built):
    version = PROJECT["version"]
    assert tlkit.__version__ == version
    assert all(f"-{version}" in name for name in built[0])
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert "version" not in citation
    assert (citation["license"], citation["cff-version"]) == (PROJECT["license"], "1.2.0")
    assert {"message", "title", "authors"} <= set(citation)


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.name
)
def test_issue_templates_are_forms(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.name == "config.yml":
        assert form["blank_issues_enabled"] is True
        return
    assert {"name", "description", "body"} <= set(form)
    fields = [item for item in form["body"] if item["type"] != "markdown"]
    assert len({item["id"] for item in fields}) == len(fields)
    assert all(item["attributes"]["label"] for item in fields)
