"""Every command with --json: one document on standard output, and it fits its published schema."""

import json
import math
import shutil

import jsonschema
import pytest
import typer
from PIL import Image

from tests import json_reference
from tests.bench.conftest import fakes  # noqa: F401 (a fixture)
from tlkit import cli
from tlkit.documents.base import Document
from tlkit.documents.error import Error
from tlkit.documents.explain import ExplainedImage
from tlkit.documents.predict import PredictedPicture
from tlkit.documents.run import Run
from tlkit.documents.schema import documents, json_schemas
from tlkit.explain.records import Explanation
from tlkit.predictor import Prediction

FAST = ("--set", "backbone.image_size=32", "--set", "workflow.epochs=1")
GRID = ("quickstart", "--heads", "linear,prototype", *FAST, "--set", "reporters=[]")
# How to call each command; {run} is the folder of a finished run. The schema comes after it.
CALLS = {
    "run": (("quickstart", *FAST), "tlkit.run/1"),
    "resume": (("{begun}",), "tlkit.run/1"),
    "recipes": ((), "tlkit.recipes/1"),
    "recipes show": (("classic",), "tlkit.recipe/1"),
    "bench": (("{data}", "--rounds", "1", "--case", "classic"), "tlkit.bench/1"),
    "compare": (GRID, "tlkit.compare/1"),
    "sweep": (
        ("quickstart", "--space", "{space}", "--trials", "1", "--no-test", *FAST),
        "tlkit.sweep/1",
    ),
    "plugins": ((), "tlkit.plugins/1"),
    "check": (("linear",), "tlkit.check/1"),
    "new-plugin": (("my-head", "--kind", "head"), "tlkit.new-plugin/1"),
    "predict": (("{run}", "{picture}"), "tlkit.predict/1"),
    "serve": (("{run}", "--port", "0"), "tlkit.serve/1"),
    "report": (("{run}",), "tlkit.report/1"),
    "explain": (
        ("{run}", "{picture}", "--sample", "1", "--method", "occlusion"),
        "tlkit.explain/1",
    ),
    "export": (("{run}", "--to", "onnx", "--no-check"), "tlkit.export/1"),
    "card": (("{run}",), "tlkit.card/1"),
    "schema": ((), "tlkit.schema/1"),
    "cache list": ((), "tlkit.cache-list/1"),
    "cache clear": ((), "tlkit.cache-clear/1"),
}


def registered(command=None, path=()):
    """Return the words of every command that can be run."""
    command = command or typer.main.get_command(cli.app)
    found = [" ".join(path)] if path and getattr(command, "invoke_without_command", True) else []
    for name, child in getattr(command, "commands", {}).items():
        found += registered(child, (*path, name))
    return found


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main([str(item) for item in arguments])
    output = capsys.readouterr()
    return caught.value.code or 0, output.out, output.err


def check(text, schema):
    """Return a document that is all of the text, after holding it against its schema."""
    document = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert document["schema"] == schema
    jsonschema.Draft202012Validator(json_schemas()[schema]).validate(document)
    return document


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tlkit.runtime.keep_freed_memory", lambda: True)
    # It would go on until a signal comes; tests/serve/test_command.py lets it.
    monkeypatch.setattr(
        "tlkit.serve.command.serve_until_told", lambda server, listening: listening.close()
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, made by ``tlkit run --json``, and what that printed."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TLKIT_CACHE", str(folder / "cache"))
        patch.setattr("tlkit.runtime.keep_freed_memory", lambda: True)
        with pytest.raises(SystemExit):
            cli.main(["run", "quickstart", *FAST, "--set", "reporters=[]"])
    (run,) = (folder / "runs").iterdir()
    return run


@pytest.mark.parametrize("name", registered())
def test_every_command_prints_one_document_that_fits_its_schema(
    name,
    finished,
    fakes,  # noqa: F811
    tmp_path,
    capsys,
):
    assert name in CALLS, f"say in CALLS how to call `tlkit {name}`, which needs --json"
    arguments, schema = CALLS[name]
    picture, data = tmp_path / "a.png", tmp_path / "data.npz"
    Image.new("RGB", (20, 20), "white").save(picture)
    data.write_bytes(b"read by nobody")
    space = tmp_path / "space.toml"
    space.write_text('["head.units"]\nchoice = [8, 128]\n')
    begun = tmp_path / "begun"
    begun.mkdir()
    shutil.copy(finished / "config.toml", begun)
    places = {"run": finished, "picture": picture, "data": data, "begun": begun, "space": space}
    code, out, err = call(
        capsys, *name.split(), *(item.format(**places) for item in arguments), "--json"
    )
    assert code == 0, err
    document = check(out, schema)
    assert document["status"] == "ok"


def test_a_call_that_no_command_has_is_not_kept():
    assert sorted(CALLS) == sorted(registered())


def test_the_run_document_says_what_the_run_folder_holds(finished):
    from tlkit import load_run

    result = load_run(finished)
    document = check(Run.of(result).text(), "tlkit.run/1")
    assert document["test"]["accuracy"] == result.accuracy
    assert document["folder"] == str(finished)
    assert document["models"] == [str(finished / "model.keras")]
    assert document["test"]["confusion_matrix"] == result.test.confusion_matrix.tolist()
    assert document["phases"][0]["history"]["loss"] == result.phases[0].history["loss"]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (["run", "clasic"], "ConfigError", "Did you mean 'classic'"),
        (["recipes", "show", "x"], "ConfigError", "Unknown recipe"),
        (["recipes", "--json", "show", "classic"], "ConfigError", "Give --json at the end"),
        (["predict", "nothing", "a.png"], "RunFolderError", "There is no run folder nothing"),
        (["compare", "a", "b"], "RunFolderError", "There is no run folder a"),
        (["schema", "tlkit.rnu/1"], "ConfigError", "Did you mean 'tlkit.run/1'"),
        (["schema", "run"], "ConfigError", "Did you mean 'tlkit.run/1'"),
        (["schema", "tlkit.run/7"], "ConfigError", "Did you mean 'tlkit.run/1'"),
        (["schema", "cache"], "ConfigError", "Did you mean 'tlkit.cache-list/1'"),
        (["bench", "nothing.npz"], "ConfigError", "There is no data file"),
        (["rnu"], "UsageError", "No such command"),
        (["predict"], "UsageError", "Missing argument"),
        (["predict", "a", "b", "--top", "0"], "UsageError", "top"),
        ([], "UsageError", ""),
    ],
)
def test_an_error_is_a_document_too(capsys, arguments, kind, message):
    code, out, err = call(capsys, *arguments, *["--json"] * ("--json" not in arguments))
    assert code == 2
    assert err == ""
    document = check(out, "tlkit.error/1")
    assert document["type"] == kind
    assert message in document["message"]
    assert document["exit_code"] == 2


def test_a_picture_that_cannot_be_read_is_a_document_that_failed(finished, capsys, tmp_path):
    (tmp_path / "b.png").write_text("broken")
    code, out, _ = call(capsys, "predict", finished, "b.png", "--json")
    assert code == 1
    document = check(out, "tlkit.predict/1")
    assert document["status"] == "failed"
    (found,) = document["predictions"]
    assert found["path"] == str(tmp_path / "b.png")
    assert found["classes"] == []
    assert "b.png" in found["error"]


def test_a_failed_cell_is_a_document_that_failed(capsys):
    code, out, _ = call(
        capsys, "compare", "quickstart", "--backbones", "vgg16,mobilenet_v2", *FAST, "--json"
    )
    assert code == 1
    document = check(out, "tlkit.compare/1")
    assert document["status"] == "failed"
    assert [cell["error"] is None for cell in document["cells"]] == [False, True]


def test_what_is_no_number_is_null(finished):
    from dataclasses import replace

    from tlkit import load_run

    result = load_run(finished)
    phase = replace(result.phases[0], history={"loss": [math.nan, math.inf, 1.0]})
    test = replace(result.test, loss=math.inf)
    text = Run.of(replace(result, phases=(phase,), test=test)).text()
    document = check(text, "tlkit.run/1")
    assert document["phases"][0]["history"]["loss"] == [None, None, 1.0]
    assert document["test"]["loss"] is None


def test_a_probability_that_is_no_number_is_null():
    nan = float("nan")
    picture = PredictedPicture.model_validate(Prediction("a.png", ("cat", "dog"), (nan, 0.5)))
    assert picture.confidences == [None, 0.5]
    image = ExplainedImage.model_validate(Explanation("a.png", "grad-cam", "cat", nan))
    assert image.confidence is None


def test_text_from_outside_moves_no_cursor():
    document = Error(type="X", message="\x1b[0m\u202e\udcff猫", exit_code=2)
    assert document.text().isascii()
    assert "\x1b" not in document.text()
    assert json.loads(document.text())["message"] == "\x1b[0m\u202e\udcff猫"


def test_each_document_has_a_name_a_version_and_a_meaning():
    assert len(documents()) == len(Document.__subclasses__())
    for name, schema in json_schemas().items():
        assert name.startswith("tlkit.")
        assert name.rpartition("/")[2].isdigit()
        assert schema["description"].startswith(("``tlkit ", "What every command"))
        assert schema["properties"]["schema"]["const"] == name
        assert set(schema["required"]) == set(schema["properties"])
        jsonschema.Draft202012Validator.check_schema(schema)


def removed(old, new, place=""):
    """Yield where a schema promises less than it did, or something else."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key, value in old.items():
            if key in ("description", "title"):
                continue
            if key not in new:
                yield f"{place}/{key}"
            else:
                yield from removed(value, new[key], f"{place}/{key}")
    elif place.endswith("/required"):
        yield from (f"{place}/{item}" for item in set(old) - set(new))
    elif old != new:
        yield place


def test_published_schemas_only_grow():
    published = json.loads(json_reference.GOLDEN.read_text(encoding="utf-8"))
    now = json_schemas()
    for name in published:
        # An old version may go when a new one takes its place.
        if name in now:
            found = list(removed(published[name], now[name], name))
            assert not found, f"make a new version, such as {name[:-1]}2: changed: {found}"


def test_the_check_of_growth_finds_what_it_should():
    old = {"properties": {"a": {"type": "integer"}}, "required": ["a"]}
    more = {"properties": {**old["properties"], "b": {"type": "string"}}, "required": ["a", "b"]}
    assert list(removed(old, more)) == []
    assert list(removed(more, old)) == ["/properties/b", "/required/b"]
    other = {"properties": {"a": {"type": "string"}}, "required": ["a"]}
    assert list(removed(old, other)) == ["/properties/a/type"]


def test_the_golden_file_and_the_page_are_up_to_date():
    assert json_reference.GOLDEN.read_text(encoding="utf-8") == json_reference.golden(), (
        "run python -m tests.json_reference"
    )
    assert json_reference.PAGE.read_text(encoding="utf-8").endswith(json_reference.reference()), (
        "run python -m tests.json_reference"
    )
