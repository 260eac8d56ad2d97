"""`tlkit check`: on a registered name, on a file, and on what is neither."""

import json
import textwrap

import pytest

from tlkit import Registry, cli
from tlkit.testing.finding import find, read_options

FILE = """
    from tlkit import Head, Reporter

    class Half(Head):
        '''Half of the classes.'''

        name = "half"

        def __init__(self, scale: float = 1.0):
            self.scale = scale

        def build(self, feature_shape, num_classes):
            import keras

            layers = [keras.layers.Rescaling(self.scale), keras.layers.Dense(num_classes // 2)]
            return keras.Sequential([keras.Input(feature_shape), *layers])

    class Quiet(Reporter):
        '''It says nothing.'''

        name = "quiet"
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "two_plugins.py"
    path.write_text(textwrap.dedent(FILE))
    return path


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main([str(item) for item in arguments])
    output = capsys.readouterr()
    return caught.value.code or 0, output.out, output.err


def test_a_registered_plugin(capsys):
    code, out, _ = call(capsys, "check", "linear")
    assert code == 0
    assert out.startswith("Head 'linear' of tlkit ")
    assert "\nok  builds-logits " in out
    assert out.endswith("15 checks: 15 passed\n\n")


def test_a_file_with_several_plugins_one_of_which_is_wrong(capsys, file):
    code, out, _ = call(capsys, "check", file, "--json")
    document = json.loads(out)
    assert (code, document["status"]) == (1, "failed")
    names = [(plugin["kind"], plugin["name"]) for plugin in document["plugins"]]
    assert names == [("head", "half"), ("reporter", "quiet")]
    failed = {item["check"] for item in document["plugins"][0]["outcomes"] if item["reason"]}
    assert "builds-logits" in failed
    assert not any(item["reason"] for item in document["plugins"][1]["outcomes"])


def test_one_class_of_a_file_with_an_option(capsys, file):
    code, out, _ = call(capsys, "check", f"{file}:Half", "--set", "scale=0.5")
    assert code == 1
    assert "FAILED: builds-logits: Head 'half' of the module two_plugins built a model" in out
    assert "skipped: learns: it needs builds-logits, which did not pass" in out
    assert "Reporter" not in out
    (found,) = find(f"{file}:Half", None, {"scale": 0.5})
    assert found.make().scale == 0.5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no_such"], "Unknown plugin 'no_such'."),
        (["liner"], "Did you mean 'linear'?"),
        (["no_such.py"], "Cannot read no_such.py: there is no such file."),
        (["{file}:Third"], "defines no Third. Allowed: a class that subclasses Backbone, Head"),
        (["{file}", "--kind", "engine"], "defines no engine plugin."),
        (["{file}", "--set", "scala=2"], "Unknown key 'scala'. Did you mean 'scale'?"),
        (["{file}", "--set", "scale=wide"], "Wrong value for 'scale' of Half: 'wide'."),
        (["linear", "--set", "scale"], "Cannot use --set 'scale'. Allowed: KEY=VALUE"),
        (["linear", "--set", "scale=2"], "Unknown key 'scale' for head 'linear'."),
        (["linear", "--kind", "nose"], "Unknown kind 'nose'. Allowed: backbone, head"),
        (["{broken}"], "broken.py cannot be imported: ZeroDivisionError: division by zero."),
    ],
)
def test_bad_input_is_one_error(capsys, tmp_path, file, arguments, said):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    places = {"file": file, "broken": tmp_path / "broken.py"}
    code, out, err = call(capsys, "check", *(item.format(**places) for item in arguments))
    assert code == 2
    assert not out
    assert err.startswith("error: ")
    assert said in err


def test_a_name_of_two_kinds_needs_its_kind(monkeypatch, capsys):
    def both(self, kind=None):
        entries = listed(self)
        return [entry for entry in entries if entry.name == "linear"] * (2 if kind is None else 1)

    listed = Registry.list
    monkeypatch.setattr(Registry, "list", both)
    _, _, err = call(capsys, "check", "linear")
    assert "'linear' is the name of several: head, head. Say which: --kind KIND." in err


def test_options_are_read_as_in_a_config():
    assert read_options(["a=1", "b=text", "c=[1, 2]"]) == {"a": 1, "b": "text", "c": [1, 2]}
