"""The code blocks of the documentation do what they show, on small data."""

import functools
import inspect
import json
import re
import shutil
import sys
import tomllib
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import typer

import tlkit
from tests.docs import reader
from tests.docs.blocks import ROOT, blocks, commands
from tlkit import cli
from tlkit.builtin.engines.tensorflow import TensorFlow
from tlkit.builtin.heads.linear import Linear
from tlkit.config_schema import config_schema
from tlkit.sweep.space_file import parse_space

# What a run of the documentation is given so that it ends soon; what the page sets itself stays.
SMALL = {
    "backbone.image_size": "32",
    "dataset.path": "cifar10.npz",
    "workflow.epochs": "1",
    "engine.name": "tensorflow",
    "reporters": "['files']",
}
SHIPPED = {"name": "mobilenet_v2", "alpha": 0.35, "weights": "cifar10"}
# Commands of which the words are checked only: each with the reason, or the tests that run them.
NOT_RUN = {
    "tlkit bench": "plain Keras on the other side: tests/bench",
    "engine.distribute": "a cluster of Ray: tests/test_ray_extraction.py",
    "--on ray": "a cluster of Ray: tests/sweep/test_on_ray.py",
    "huggingface": "a download: plugins/tlkit-huggingface/tests",
    "name=tfds": "a download: plugins/tlkit-tfds/tests",
    "name=my_head": "a package to install: tests/test_new_plugin.py",
    "check mobilenet_v2": "minutes: tests/builtin/test_conformance.py",
    "mine.toml": "presets to download: plugins/tlkit-kerashub/tests",
    ".venv/bin/tlkit": "the front door: tried in a fresh environment before each release",
    "--target-accuracy": "a network that learned too little to promise it: tests/predict",
    "litert": "minutes: tests/export",
    "TF_CONFIG": "two processes at a time: tests/test_distribution.py",
}
PYTHON_NOT_RUN = {
    "onnxruntime": "examples/export_and_use",
    "tritonclient": "a server at port 8000: tests/serve/test_inference.py",
    "keras_hub": "plugins/tlkit-kerashub/tests",
    "mlflow": "plugins/tlkit-mlflow/tests",
    "run_sweep": "minutes: tests/sweep",
    "tlkit.export": "tests/export",
}
TUTORIAL = "docs/tutorial.md"


def settings_of(block):
    many = block.page == "README.md" and "tlkit sweep" in block.text
    marks = [pytest.mark.slow] * many
    return pytest.param(block, id=f"{block.page}:{block.line}", marks=marks)


def without_reason(text, reasons):
    return not any(part in text for part in reasons)


def runs_of(block):
    """Return the tlkit commands of a block, as words, and what stands before them."""
    found = []
    for words in commands(block):
        names = [word for word in words if not re.match(r"[A-Z_]+=", word)]
        if names and names[0] in ("tlkit", ".venv/bin/tlkit"):
            found.append(words)
    return found


def split(words):
    """Return the variables that stand before a command, and its arguments."""
    start = next(index for index, word in enumerate(words) if word.endswith("tlkit"))
    variables = dict(word.split("=", 1) for word in words[:start])
    return variables, [word for word in words[start + 1 :] if not word.startswith("$")]


WITH_COMMANDS = [block for block in blocks("sh") if runs_of(block)]


@pytest.mark.parametrize("block", [settings_of(item) for item in blocks()])
def test_every_block_says_its_language(block):
    assert block.language in ("sh", "console", "python", "toml", "json", "text")


@pytest.mark.parametrize("block", [settings_of(item) for item in WITH_COMMANDS])
def test_commands_and_options_are_there(block):
    for words in runs_of(block):
        command, context, rest = typer.main.get_command(cli.app), None, split(words)[1]
        while hasattr(command, "resolve_command"):
            context = command.make_context("tlkit", rest, parent=context)
            rest = [*context._protected_args, *context.args]
            _, command, rest = command.resolve_command(context, rest)
        command.make_context(command.name, rest, parent=context)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with data, pictures, and a run that the pages' names can stand for."""
    folder = tmp_path_factory.mktemp("docs")
    reader.make_data(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TLKIT_CACHE", str(folder / "cache"))
        patch.setattr("tlkit.runtime.keep_freed_memory", lambda: True)
        # Grad-CAM wants more than one place in the last feature maps.
        run("run", "cifar10", "--set", "backbone.image_size=64", *small({"backbone.image_size"}))
    [made] = (folder / "runs").iterdir()
    made.rename(folder / "RUN")
    (folder / "runs").rmdir()
    return folder


def run(*arguments):
    """Call the command line, which must end with 0."""
    with pytest.raises(SystemExit) as caught:
        cli.main([str(item) for item in arguments])
    assert caught.value.code in (0, None), f"tlkit {' '.join(map(str, arguments))}"


def small(given):
    found = []
    own = "backbone.name" in given
    shipped = {"backbone.weights": "cifar10", "backbone.alpha": "0.35"}
    for key, value in (SMALL | ({"backbone.weights": "random"} if own else shipped)).items():
        if key not in given:
            found += ["--set", f"{key}={value}"]
    return found


@pytest.fixture
def place(finished, tmp_path, monkeypatch):
    """An own folder with what the pages name."""
    without_cache = shutil.ignore_patterns("cache")
    shutil.copytree(finished, tmp_path, ignore=without_cache, dirs_exist_ok=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "hub").mkdir()
    shutil.copytree(finished / "more", tmp_path / "home" / "pictures")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TLKIT_CACHE", str(finished / "cache"))
    monkeypatch.setattr("tlkit.runtime.keep_freed_memory", lambda: True)
    monkeypatch.setattr("webbrowser.open", lambda url: True)
    # A service ends as soon as it could answer.
    monkeypatch.setattr("tlkit.serve.connections.Server.run", lambda self, sockets=None: None)
    monkeypatch.chdir(tmp_path)
    before, path = set(sys.modules), list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith((str(tmp_path), "examples")):
            del sys.modules[name]


def runnable(block):
    return [words for words in runs_of(block) if without_reason(" ".join(words), NOT_RUN)]


# Several pages show the same command.
_RUN_BEFORE = []


@pytest.mark.parametrize(
    "block",
    [settings_of(item) for item in WITH_COMMANDS if item.page != TUTORIAL and runnable(item)],
)
def test_commands_run(block, place, monkeypatch, request):
    bucket = None
    if "s3://" in block.text:
        bucket = reader.open_store(request.getfixturevalue("s3"), place)
    for words in runnable(block):
        if words in _RUN_BEFORE:
            continue
        _RUN_BEFORE.append(words)
        variables, arguments = split(words)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        if arguments[0] == "resume":
            reader.interrupt(place, arguments[1], small(set()))
        reader.make_runs(" ".join(words), place)
        arguments = reader.shorten(arguments, place, bucket)
        if arguments[0] in ("run", "compare", "sweep") and not arguments[1].startswith("runs/"):
            given = reader.stays(arguments)
            # The example's own network has random weights, and no key to say so.
            without_key = "backbone.name=two_convolutions" in arguments
            arguments += small(given | {"backbone.weights"} if without_key else given)
        run(*arguments)


@pytest.mark.parametrize(
    "block",
    [
        settings_of(item)
        for item in blocks("python")
        if without_reason(item.text, PYTHON_NOT_RUN) and item.page != TUTORIAL
    ],
)
def test_python_runs(block, place):
    reader.make_runs(block.text, place)
    (place / "my_package").mkdir()
    (place / "my_package" / "backbone.py").write_text("class MyBackbone: pass\n")
    names = {
        "tlkit": tlkit,
        # With the weights that ship: those of ImageNet would be a download.
        "Trainer": functools.partial(tlkit.Trainer, SHIPPED),
        "json": json,
        "Cosine": lambda scale: Linear(),
        "MyEngine": TensorFlow,
        "pixels": np.zeros((2, 32, 32, 3), np.uint8),
    }
    exec(compile(block.text, f"{block.page}:{block.line}", "exec"), names)
    if "print" in block.text:
        return
    made = set(names) - {"tlkit", "Trainer", "json", "Cosine", "pixels", "MyEngine", "__builtins__"}
    assert made or "Trainer(" in block.text


def test_the_backbone_of_the_page_is_that_of_the_example():
    example = (ROOT / "examples" / "custom_backbone" / "run.py").read_text(encoding="utf-8")
    shown = [item.text for item in blocks("python") if "class TwoConvolutions" in item.text]
    assert len(shown) == 1
    assert shown[0][shown[0].index("class Two") :].strip() in example


def test_the_events_of_the_page_are_those_of_a_reporter():
    [shown] = [item.text for item in blocks("python") if item.text.startswith("def on_stage(")]
    names = {}
    exec(shown, names)
    del names["__builtins__"]
    events = {name: item for name, item in vars(tlkit.Reporter).items() if name[:3] == "on_"}
    assert list(names) == list(events)
    for name, event in events.items():
        assert [*inspect.signature(names[name]).parameters] == [
            *inspect.signature(event).parameters
        ]


@pytest.fixture(scope="module")
def schema():
    return config_schema()


@pytest.mark.parametrize("block", [settings_of(item) for item in blocks("toml")])
def test_tables_are_allowed(block, schema):
    tables = tomllib.loads(block.text)
    if "project" in tables:
        assert tables["project"]["entry-points"]["tlkit"]
    elif any("." in key for key in tables):
        assert parse_space(block.text).parameters
    else:
        tables.setdefault("dataset", {"name": "digits"})
        jsonschema.validate(tables, schema)


def test_every_reason_is_still_needed():
    texts = [" ".join(words) for block in WITH_COMMANDS for words in runs_of(block)]
    assert [part for part in NOT_RUN if not any(part in text for text in texts)] == []
    blocks_of_python = [block.text for block in blocks("python")]
    unused = [part for part in PYTHON_NOT_RUN if not any(part in text for text in blocks_of_python)]
    assert unused == []


def test_files_that_reasons_and_pages_name_exist():
    reasons = " ".join([*NOT_RUN.values(), *PYTHON_NOT_RUN.values()])
    named = set(re.findall(r"(?:tests|plugins|examples)/[\w/-]+(?:\.py)?", reasons))
    for block in blocks("sh"):
        named |= set(re.findall(r"(?:tests|examples)/[\w/-]+\.py", block.text))
    assert [name for name in sorted(named) if not (ROOT / Path(name)).exists()] == []
