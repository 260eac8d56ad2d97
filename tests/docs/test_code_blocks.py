"""The code blocks of the documentation do what they show, on small data."""

import functools
import json
import re
import shutil
import tomllib
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import typer
from PIL import Image

import tlkit
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
    "tlkit resume": "wants an interrupted run: tests/test_resuming.py",
    "tlkit serve": "serves until it is told to end: tests/serve",
    "tlkit run --from": "runs that the page describes in words: tests/test_heritage.py",
    "s3://": "an object store: tests/test_commands_at_urls.py",
    "engine.distribute": "a cluster of Ray: tests/test_ray_extraction.py",
    "--on ray": "a cluster of Ray: tests/sweep/test_on_ray.py",
    "--storage": "a database elsewhere: tests/sweep/test_storage.py",
    "--few-shot": "minutes: tests/compare",
    "--trials": "minutes: tests/sweep, examples/sweep",
    "fine_tune_epochs": "minutes: examples/fine_tuning",
    "huggingface": "a download: plugins/tlkit-huggingface/tests",
    "name=tfds": "a download: plugins/tlkit-tfds/tests",
    "dataset.path=eight": "folders that the page describes in words: tests/test_heritage.py",
    "dataset.path=all": "folders that the page describes in words: tests/test_heritage.py",
    "frozen-logistic": "runs that the page describes in words: tests/test_heritage.py",
    "name=my_head": "the package that the page makes: tests/test_new_plugin.py",
    "my_head.py": "a file of the reader: tests/testing",
    "check mobilenet_v2": "minutes: tests/builtin/test_conformance.py",
    "mine.toml": "a config of the reader",
    "best.toml": "what the sweep of the page wrote: tests/sweep",
    ".venv/bin/tlkit": "the front door: tried in a fresh environment before each release",
    "--target-accuracy": "a network that learned too little to promise it: tests/predict",
    "--to onnx": "tests/export, examples/export_and_use",
    "--to keras": "tests/export",
    "openvino": "tests/predict",
}
PYTHON_NOT_RUN = {
    "onnxruntime": "examples/export_and_use",
    "tritonclient": "a server at port 8000: tests/serve/test_inference.py",
    "keras_hub": "plugins/tlkit-kerashub/tests",
    "mlflow": "plugins/tlkit-mlflow/tests",
    "run_sweep": "minutes: tests/sweep",
    "tlkit.export": "tests/export",
}
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
TUTORIAL = "docs/tutorial.md"


def settings_of(block):
    return pytest.param(block, id=f"{block.page}:{block.line}")


def without_reason(text, reasons):
    return not any(part in text for part in reasons)


def runs_of(block):
    """Return the tlkit commands of a block, as words."""
    return [words for words in commands(block) if words[0] in ("tlkit", ".venv/bin/tlkit")]


WITH_COMMANDS = [block for block in blocks("sh") if runs_of(block)]


@pytest.mark.parametrize("block", [settings_of(item) for item in blocks()])
def test_every_block_says_its_language(block):
    assert block.language in ("sh", "console", "python", "toml", "json", "text")


@pytest.mark.parametrize("block", [settings_of(item) for item in WITH_COMMANDS])
def test_commands_and_options_are_there(block):
    for words in runs_of(block):
        command, context, rest = typer.main.get_command(cli.app), None, words[1:]
        while hasattr(command, "resolve_command"):
            context = command.make_context("tlkit", rest, parent=context)
            rest = [*context._protected_args, *context.args]
            _, command, rest = command.resolve_command(context, rest)
        command.make_context(command.name, rest, parent=context)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with data, pictures, and a run that the pages' names can stand for."""
    folder = tmp_path_factory.mktemp("docs")
    generator = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 200), ("test", 60)):
        labels = np.arange(count) % 10
        images = generator.integers(0, 160, (count, 32, 32, 3)) + 9 * labels[:, None, None, None]
        arrays |= {f"x_{split}": images.astype(np.uint8), f"y_{split}": labels}
    np.savez(folder / "cifar10.npz", **arrays)
    np.savez(folder / "cifar10-lossless.npz", **arrays)
    rows = ["path,label"]
    for index in range(150):
        name = CLASSES[index % 10]
        for root in ("pictures", "more")[index >= 6 :]:
            (folder / root / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(arrays["x_train"][index]).save(folder / root / name / f"{index}.png")
        rows.append(f"more/{name}/{index}.png,{name}")
    (folder / "birds.csv").write_text("\n".join(rows))
    for name in ("photo.jpg", "holiday.jpg", "cat.jpg", "dog.png"):
        Image.fromarray(arrays["x_test"][3]).save(folder / name)
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
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TLKIT_CACHE", str(finished / "cache"))
    monkeypatch.setattr("tlkit.runtime.keep_freed_memory", lambda: True)
    monkeypatch.setattr("webbrowser.open", lambda url: True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_runs(text, place):
    for name in re.findall(r"\bruns/([\w-]+)", text) or ["one"] * text.startswith(
        "tlkit report runs"
    ):
        (place / "runs").mkdir(exist_ok=True)
        if not (place / "runs" / name).exists():
            shutil.copytree(place / "RUN", place / "runs" / name)


def runnable(block):
    return [words for words in runs_of(block) if without_reason(" ".join(words), NOT_RUN)]


@pytest.mark.parametrize(
    "block",
    [settings_of(item) for item in WITH_COMMANDS if item.page != TUTORIAL and runnable(item)],
)
def test_commands_run(block, place):
    for words in runnable(block):
        make_runs(" ".join(words), place)
        arguments = words[1:]
        if arguments[0] in ("run", "compare") and not arguments[1].startswith("runs/"):
            keys = {word.partition("=")[0] for word in arguments if "=" in word}
            other = {"dataset.path"} if arguments[1] == "quickstart" else set()
            own = {"backbone.name"} if "--backbones" in arguments else set()
            arguments += small(keys | other | own)
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
    make_runs(block.text, place)
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
