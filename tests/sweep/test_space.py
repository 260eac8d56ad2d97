import json

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit.config.reading import override
from tlkit.errors import ConfigError, TlkitError
from tlkit.sweep.parameters import assignment
from tlkit.sweep.space import Space
from tlkit.sweep.space_file import make_space, parse_space, read_space

INT = {"type": "int", "low": 1, "high": 8}
BROKEN = [
    ({}, "names no key to search over"),
    ({"head.units": 3}, "is no range"),
    ({"head.units": {"low": 1, "high": 2}}, "has no type"),
    ({"head.units": {"type": "log", "low": 1, "high": 2}}, "with log = true"),
    ({"head.units": {"type": "itn", "low": 1, "high": 2}}, "Did you mean 'int'"),
    ({"head.units": {"type": "int", "low": 9, "high": 2}}, "low below high"),
    ({"head.units": {"type": "int", "low": 2, "high": 2}}, "low below high"),
    ({"head.units": {"type": "int", "low": 0, "high": 2, "log": True}}, "low above 0"),
    (
        {"head.units": {"type": "int", "low": 1.5, "high": 2}},
        "not allowed. Allowed: a whole number",
    ),
    ({"head.units": {"type": "int", "low": 1, "high": 2**60}}, "53 bits"),
    ({"head.units": {"type": "int", "low": 1}}, "has no 'high'"),
    ({"head.units": {**INT, "step": 9}}, "step = 9 is not allowed"),
    ({"head.units": {**INT, "step": 2, "log": True}}, "one of them"),
    ({"head.units": {**INT, "hihg": 3}}, "Did you mean 'high'"),
    ({"head.dropout": {"type": "float", "low": 0.0, "high": float("inf")}}, "a finite number"),
    ({"head.dropout": {"type": "float", "low": float("nan"), "high": 1.0}}, "a finite number"),
    ({"head.units": {"choice": [4]}}, "has 1 values"),
    ({"head.units": {"choice": [4, 4]}}, "twice"),
    ({"head.units": {"choice": [4, float("nan")]}}, "finite"),
    ({"head.units": {"choice": 4}}, "choice = 4 is not allowed"),
    ({"learning_rate": INT}, "workflow.learning_rate"),
    ({"haed.units": INT}, "Did you mean 'head'"),
    ({"run.seed": INT}, "trials share"),
    ({"dataset.path": {"choice": ["a", "b"]}}, "could not be compared"),
    ({"features.vews": INT}, "Did you mean 'views'"),
    ({"head.units": {**INT, "when": {"head.name": "mlp"}}}, "no key of the space"),
    ({"head.units": {**INT, "when": {"head.dropout": 1}}, "head.dropout": INT}, "no choice"),
    (
        {"head.name": {"choice": ["a", "b"]}, "head.units": {**INT, "when": {"head.name": "c"}}},
        "which that is never",
    ),
    (
        {
            "head.a": {"choice": [1, 2], "when": {"head.b": 1}},
            "head.b": {"choice": [1, 2], "when": {"head.a": 1}},
        },
        "in a circle",
    ),
]


@pytest.mark.parametrize(("tables", "said"), BROKEN)
def test_what_is_no_space_gets_one_error_that_names_the_key(tables, said):
    with pytest.raises(ConfigError) as caught:
        make_space(tables)
    assert said in str(caught.value)
    assert next(iter(tables), "key").rpartition(".")[2] in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "Cannot read the space"), (b"[x", "no valid TOML"), (b"\xff", "Cannot read")],
)
def test_a_file_that_is_no_toml_gets_one_error(tmp_path, content, said):
    path = tmp_path / "space.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        read_space(path)


def test_both_ways_to_write_a_key_mean_the_same():
    quoted = parse_space('["head.units"]\ntype = "int"\nlow = 1\nhigh = 8')
    nested = parse_space('[head.units]\ntype = "int"\nlow = 1\nhigh = 8')
    inline = parse_space('head.units = { type = "int", low = 1, high = 8 }')
    assert quoted.describe() == nested.describe() == inline.describe()
    with pytest.raises(ConfigError, match="stands twice"):
        parse_space('["head.units"]\nchoice = [1, 2]\n[head.units]\nchoice = [1, 2]')


def test_conditions_come_after_what_they_depend_on():
    space = make_space(
        {
            "head.units": {**INT, "when": {"head.name": "dense"}},
            "head.name": {"choice": ["dense", "linear"]},
        }
    )
    assert list(space.parameters) == ["head.name", "head.units"]
    assert space.active("head.units", {"head.name": "dense"})
    assert not space.active("head.units", {"head.name": "linear"})
    examples = list(space.examples())
    assert {"head.name": "linear"} in examples
    assert {"head.name": "dense", "head.units": 8} in examples


def test_every_end_and_choice_is_in_an_example():
    space = make_space(
        {"head.units": INT, "head.dropout": {"choice": [0.1, 0.2, 0.3]}},
    )
    examples = list(space.examples())
    assert {item["head.units"] for item in examples} == {1, 8}
    assert {item["head.dropout"] for item in examples} == {0.1, 0.2, 0.3}


def test_the_grid_has_all_values_or_says_what_is_missing():
    found = make_space(
        {
            "head.units": {**INT, "step": 3},
            "head.dropout": {"type": "float", "low": 0.0, "high": 0.3, "step": 0.1},
        }
    ).grid()
    assert found["head.units"] == [1, 4, 7]
    assert found["head.dropout"] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    with pytest.raises(ConfigError, match="step"):
        make_space({"head.dropout": {"type": "float", "low": 0.0, "high": 0.3}}).grid()
    with pytest.raises(ConfigError, match="1,000"):
        make_space({"head.units": {"type": "int", "low": 1, "high": 5000}}).grid()


VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1), inner),
    max_leaves=5,
)


@given(VALUES)
def test_a_value_reaches_the_config_as_it_is(value):
    tables = {"head": {"name": "dense"}}
    override(tables, assignment("head.key", value))
    assert tables["head"]["key"] == value
    assert json.dumps(tables["head"]["key"]) == json.dumps(value)


KEYS = st.sampled_from(["head.units", "head.name", "workflow.epochs", "run.seed", "x", ""])
TABLES = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["int", "float", "choice", "log", 3]),
        "low": VALUES,
        "high": VALUES,
        "step": VALUES,
        "log": VALUES,
        "choice": st.lists(VALUES, max_size=4) | VALUES,
        "when": st.dictionaries(KEYS, VALUES, max_size=2) | VALUES,
        "other": VALUES,
    },
)


@settings(max_examples=100)
@given(st.dictionaries(KEYS, TABLES | VALUES, max_size=3))
def test_a_file_is_a_space_or_an_error(tables):
    try:
        space = parse_space(tomli_w.dumps(tables))
    except TlkitError as err:
        assert str(err)
        return
    assert isinstance(space, Space)
    assert list(space.examples())
    assert (
        make_space(
            {
                key: {name: value for name, value in table.items() if value is not None}
                for key, table in space.describe().items()
            }
        ).describe()
        == space.describe()
    )


@settings(max_examples=50)
@given(st.text(max_size=60))
def test_a_text_is_a_space_or_an_error(text):
    with pytest.raises(TlkitError):
        parse_space(text)
