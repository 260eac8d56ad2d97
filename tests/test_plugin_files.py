import subprocess
import sys

import pytest

from tests.tiny import make_tiny_trainer
from tlkit import ConfigError, Registry, UnknownPluginError, errors, load_run, registry
from tlkit.plugin_calls import describe_plugin

HEAD = '''
from tlkit import Head


class Mine(Head):
    """One layer."""

    name = "mine"

    def build(self, feature_shape, num_classes):
        import keras

        return keras.Sequential([keras.Input(feature_shape), keras.layers.Dense(num_classes)])
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of plugin files, and nothing installed; what is imported from it is forgotten."""
    found = tmp_path / "plugins"
    found.mkdir()
    monkeypatch.setenv("TLKIT_PLUGIN_FOLDER", str(found))
    monkeypatch.setattr(registry, "entry_points", lambda group: [])
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield found
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(found)):
            del sys.modules[name]


def test_a_class_in_a_file_can_be_named_and_says_where_it_is_from(folder):
    (folder / "mine_one.py").write_text(HEAD)
    found = Registry()
    entry = next(item for item in found.list("head") if item.name == "mine")
    assert (entry.distribution, entry.version) == (str(folder / "mine_one.py"), "")
    assert found.broken == []
    assert describe_plugin(entry.plugin) == f"Head 'mine' of {folder / 'mine_one.py'}"


def test_a_file_is_imported_once_for_all_registries(folder):
    (folder / "mine_two.py").write_text(f"print('imported')\n{HEAD}")
    assert Registry().get("head", "mine") is Registry().get("head", "mine")


def test_a_run_with_it_is_written_down_and_made_again(folder, tmp_path):
    (folder / "mine_three.py").write_text(HEAD)
    result = make_tiny_trainer(tmp_path, head="mine", registry=Registry()).run()
    assert 'name = "mine"' in (result.folder / "config.toml").read_text()
    assert load_run(result.folder).accuracy == result.accuracy


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("mine_wrong.py", "def f(:", "SyntaxError"),
        ("mine_ends.py", "raise SystemExit(3)", "SystemExit: 3"),
        ("mine_empty.py", "from tlkit import Head\n", "It defines no plugin: a class that"),
        ("mine_half.py", HEAD.replace("def build", "def make"), "It defines no plugin"),
        ("mine_nameless.py", HEAD.replace('name = "mine"', ""), "it has no name"),
        ("json.py", HEAD, "Its name is taken by the module 'json' (/"),
        ("sys.py", HEAD, "Its name is taken by the module 'sys'. Rename the file."),
        ("my-head.py", HEAD, "'my-head.py' cannot be imported. Allowed: letters, digits"),
    ],
)
def test_what_is_wrong_with_a_file_is_named_and_the_others_load(folder, name, text, reason):
    (folder / name).write_text(text)
    (folder / "mine_good.py").write_text(HEAD.replace("mine", "good"))
    found = Registry()
    (broken,) = found.broken
    assert (broken.distribution, broken.entry_point) == (str(folder / name), "")
    assert reason in broken.reason
    assert found.get("head", "good")
    with pytest.raises(UnknownPluginError, match="failed to load: ") as caught:
        found.get("head", "nothing")
    assert f"{folder / name} failed to load: {broken.reason}" in str(caught.value)


def test_a_base_without_a_name_is_no_plugin_of_the_file(folder):
    derived = """
class Derived(Mine):
    name = "mine_derived"
"""
    (folder / "mine_and_base.py").write_text(HEAD.replace('name = "mine"', "") + derived)
    found = Registry()
    assert found.broken == []
    assert found.get("head", "mine_derived").__mro__[1].__name__ == "Mine"


def test_files_with_an_underscore_are_for_the_others(folder):
    (folder / "_shared_by_mine.py").write_text("WIDTH = 3\n")
    (folder / "mine_four.py").write_text(f"from _shared_by_mine import WIDTH\n{HEAD}")
    (folder / "notes.txt").write_text("no plugin")
    found = Registry()
    assert found.broken == []
    assert found.get("head", "mine")


def test_what_a_file_prints_and_changes_is_kept_away(folder, capsys):
    (folder / "mine_loud.py").write_text(f"import random\nprint('noise')\nrandom.seed(1)\n{HEAD}")
    found = Registry()
    assert capsys.readouterr() == ("", "noise\n")
    assert "mine_loud.py, when it was loaded, changed the seed of Python's" in found.warnings[0]


def test_a_name_that_is_taken_is_an_error_that_names_the_file(folder):
    (folder / "mine_linear.py").write_text(HEAD.replace('"mine"', '"linear"'))
    with pytest.raises(
        errors.DuplicatePluginError, match=r"'linear': tlkit .*mine_linear\.py .*another name"
    ):
        Registry()


def test_a_hermetic_registry_ignores_the_folder(folder):
    (folder / "mine_five.py").write_text(HEAD)
    assert "mine" not in {item.name for item in Registry(entry_points=False).list("head")}


@pytest.mark.parametrize("name", ["nothing", "file"])
def test_a_folder_that_is_none_is_an_error(folder, monkeypatch, tmp_path, name):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TLKIT_PLUGIN_FOLDER", str(tmp_path / name))
    with pytest.raises(ConfigError, match=r"TLKIT_PLUGIN_FOLDER is .*, which cannot be read"):
        Registry()


def test_the_command_lists_the_plugin_and_what_is_broken(folder):
    (folder / "mine_six.py").write_text(HEAD)
    (folder / "mine_bad.py").write_text("1 / 0\n")
    done = subprocess.run(
        [sys.executable, "-m", "tlkit", "plugins", "--kind", "head"],
        capture_output=True,
        text=True,
        check=True,
    )
    row = next(line for line in done.stdout.splitlines() if "mine_six.py" in line)
    assert row.split()[:2] == ["head", "mine"]
    assert f"Broken: {folder / 'mine_bad.py'}: ZeroDivisionError: division by zero" in done.stderr
