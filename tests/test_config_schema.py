import copy
import json
import tomllib
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit import ConfigError, Head, Registry
from tlkit.config.building import build_trainer
from tlkit.config.recipes import recipes
from tlkit.config_schema import config_schema
from tlkit.options import allowed_options, option_descriptions

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*/config.toml"))
TEXTS = {**recipes(), **{item.parent.name: item.read_text() for item in EXAMPLES}}


@pytest.fixture(scope="module")
def registry():
    return Registry(entry_points=False)


@pytest.fixture(scope="module")
def validator(registry):
    schema = config_schema(registry)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", TEXTS)
def test_recipes_and_examples_fit(validator, name):
    validator.validate(tomllib.loads(TEXTS[name]))


@pytest.mark.parametrize(
    "text",
    [
        'engine = "auto"',
        'head = "linear"\nbackbone = "mobilenet_v2"',
        'engine = "tensorflow"',
        '[engine]\ndistribute = "ray"\nray.workers = 2',
        'reporters = ["files", "rich"]',
        "reporters = []",
        "[head]\nunits = 64",
        '[compare]\nbackbones = ["mobilenet_v2"]\nheads = ["dense", {name = "mlp", units = [64]}]',
        '[run]\nvalidation = "test"',
        "[workflow]\nclass_weight = {cat = 2.0}",
    ],
)
def test_short_forms_are_allowed_by_both(validator, registry, tmp_path, text):
    whole = f'{text}\n[dataset]\nname = "digits"\n'
    validator.validate(tomllib.loads(whole))
    (tmp_path / "run.toml").write_text(whole)
    build_trainer(str(tmp_path / "run.toml"), registry=registry)


@pytest.mark.parametrize(
    "text",
    [
        'engine = "tensorflwo"',
        "[head]\nunit = 64",
        '[head]\nunits = "many"',
        '[head]\nname = "dnese"',
        '[engine]\nname = "auto"\nprecision = "float32"',
        '[backbone]\npreprocessing = "half"',
        "[run]\nvalidation = true",
        "[trainer]\nseed = 1",
        '[dataset]\nname = "folder"',
        'head = "linaer"',
    ],
)
def test_what_is_wrong_is_refused_by_both(validator, registry, tmp_path, text):
    whole = text if "[dataset]" in text else f'{text}\n[dataset]\nname = "digits"\n'
    assert list(validator.iter_errors(tomllib.loads(whole)))
    (tmp_path / "run.toml").write_text(whole)
    with pytest.raises((ConfigError, LookupError)):
        build_trainer(str(tmp_path / "run.toml"), registry=registry)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_key_misspelt_anywhere_is_refused(validator, data):
    tables = copy.deepcopy(tomllib.loads(TEXTS[data.draw(st.sampled_from(sorted(TEXTS)))]))
    table = data.draw(st.sampled_from([t for t in tables.values() if isinstance(t, dict) and t]))
    key = data.draw(st.sampled_from(sorted(table)))
    table[key + data.draw(st.text("xyz_", min_size=1))] = table.pop(key)
    assert list(validator.iter_errors(tables))


def test_every_option_of_every_builtin_plugin_is_explained(registry):
    for entry in registry.list():
        told = option_descriptions(entry.plugin)
        missing = [name for name in allowed_options(entry.plugin) if not told.get(name)]
        assert missing == [], f"{entry.kind} {entry.name}"


def test_a_plugin_of_ones_own_is_in_it(registry):
    class Wide(Head):
        """Wide."""

        name = "wide"

        def __init__(self, width: int, activation: str = "relu", **more: float) -> None:
            """Keep them.

            Args:
                width: How
                    wide.
                activation: Which.
                more: Others.
            """

        def build(self, inputs, classes):
            raise NotImplementedError

    registry = Registry(entry_points=False)
    registry.register(Wide)
    tables = config_schema(registry)["properties"]["head"]["oneOf"]
    [table] = [item for item in tables if item.get("title") == "head wide"]
    assert table["properties"] == {
        "name": {"const": "wide"},
        "width": {"type": "integer", "description": "How wide."},
        "activation": {"type": "string", "description": "Which.", "default": "relu"},
    }
    assert table["required"] == ["name", "width"]
    assert table["additionalProperties"] is True


def test_the_command_prints_it(tlkit_command):
    code, out, _ = tlkit_command("schema", "config")
    assert code == 0
    assert json.loads(out) == config_schema()
    code, out, _ = tlkit_command("schema")
    assert out.splitlines()[-1] == "config"
