"""New plugins install, are found, pass their tests and run: all kinds in one fresh environment."""

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tlkit import ConfigError, cli
from tlkit.new_plugin.writing import write_plugin
from tlkit.registry import KINDS


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A fresh environment that sees the packages of this one, as if they were installed there."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    (packages,) = folder.glob("lib/python*/site-packages")
    roots = [path for path in sys.path if path and Path(path).is_dir()]
    root = str(Path(__file__).parents[1])
    # With .pth files of their own, such as those of packages that are installed for editing.
    lines = [root, *(f"import site; site.addsitedir({path!r})" for path in roots)]
    (packages / "of_the_tests.pth").write_text("\n".join(lines))
    return python


def call(python, *arguments, cwd):
    cache = {"TLKIT_CACHE": str(cwd / "cache")}
    done = subprocess.run(
        [python, "-m", *map(str, arguments)],
        cwd=cwd,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | cache,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_all_kinds_install_are_found_pass_their_tests_and_run(environment, tmp_path):
    written = {kind: write_plugin(f"my-{kind}", kind, tmp_path) for kind in KINDS}
    folders = [item.folder for item in written.values()]
    call(
        environment, "pip", "install", "--quiet", "--no-deps", "--no-index",
        "--no-build-isolation", *folders, cwd=tmp_path,
    )  # fmt: skip
    found = json.loads(call(environment, "tlkit", "plugins", "--json", cwd=tmp_path))
    names = {(item["kind"], item["name"]): item["distribution"] for item in found["plugins"]}
    for kind in KINDS:
        assert names[kind, f"my_{kind}"] == f"tlkit-my-{kind}"
    assert not [item for item in found["broken"] if item["distribution"].startswith("tlkit-my-")]

    tests = [folder / "tests" for folder in folders]
    told = call(
        environment, "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib",
        "--rootdir", tmp_path, *tests, cwd=tmp_path,
    )  # fmt: skip
    assert int(re.search(r"(\d+) passed", told)[1]) > 60
    assert not re.search(r"\d+ skipped", told)

    settings = ["--set", 'reporters=["my_reporter"]']
    for kind in set(KINDS) - {"reporter"}:
        settings += ["--set", f"{kind}.name=my_{kind}"]
    told = call(environment, "tlkit", "run", "quickstart", *settings, cwd=tmp_path)
    assert "test accuracy" in told
    (run,) = (tmp_path / "runs").iterdir()
    assert json.loads((run / "my_reporter.json").read_text())["accuracy"] > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_whole(kind, tmp_path):
    document = write_plugin("tlkit-two_words", kind, tmp_path)
    assert (document.name, document.distribution) == ("two_words", "tlkit-two-words")
    found = sorted(
        str(path.relative_to(document.folder))
        for path in document.folder.rglob("*")
        if path.is_file()
    )
    assert found == document.files
    for path in document.files:
        text = (document.folder / path).read_text()
        assert "$" not in text.replace("${{ matrix.python }}", "")
        if path.endswith(".py"):
            compile(text, path, "exec")
    assert document.commands[-1] in (document.folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("My Head", "head", "The name 'My Head' is not allowed"),
        ("1st", "head", "is not allowed"),
        ("class", "head", "is not allowed"),
        ("../up", "head", "is not allowed"),
        ("nice", "nose", "Unknown kind 'nose'. Allowed: backbone, head"),
        ("dense", "head", "There is a head 'dense' already, from tlkit "),
    ],
)
def test_bad_input_is_one_error_and_writes_nothing(name, kind, said, tmp_path):
    with pytest.raises(ConfigError) as caught:
        write_plugin(name, kind, tmp_path)
    assert said in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_there_is_left(tmp_path):
    (tmp_path / "tlkit-nice").mkdir()
    with pytest.raises(ConfigError, match="is there already"):
        write_plugin("nice", "head", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"Cannot write .*--output"):
        write_plugin("nice", "head", tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "tlkit-nice"]


def test_the_command_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        cli.main(["new-plugin", "my-head", "--kind", "head"])
    assert not caught.value.code
    assert capsys.readouterr().out.splitlines() == [
        f"The head 'my_head' is in {tmp_path / 'tlkit-my-head'}. Go on with:",
        "cd tlkit-my-head",
        "pip install -e '.[test]'",
        "python -m pytest",
        "tlkit run quickstart --set head.name=my_head",
    ]
