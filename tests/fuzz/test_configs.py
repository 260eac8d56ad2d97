"""Configs and ``--set``: any file is a Trainer or one TlkitError."""

from __future__ import annotations

import tomllib

import tomli_w
from hypothesis import strategies as st

from tests.fuzz.mutations import (
    CHANGES_OF_BYTES,
    CHANGES_OF_VALUES,
    ODD_VALUES,
    change_bytes,
    change_values,
)
from tlkit import Registry
from tlkit.compare.grid import plan
from tlkit.config.building import build_trainer
from tlkit.config.recipes import recipes
from tlkit.features import FeatureStore

WHOLE = """
[run]
name = "run"
seed = 0
validation = 0.1
duplicates = "report"
save = ["keras"]
calibrate = false
few_shot = 0
test_images = true
[dataset]
name = "folder"
path = "pictures"
test_fraction = 0.2
broken = "skip"
follow_links = false
[backbone]
name = "mobilenet_v2"
image_size = 96
alpha = 1.0
weights = "imagenet"
[head]
name = "logistic"
C = 1.0
[workflow]
name = "freeze_and_train"
epochs = 5
batch_size = 32
learning_rate = 0.001
fine_tune_epochs = 2
[engine]
name = "auto"
[features]
dtype = "float16"
views = 2
flip = true
crop = 0.3
colour = 0.1
seed = 0
[test_time_augmentation]
mirror = true
scales = [0.8, 1.25]
[[reporters]]
name = "plots"
[[reporters]]
name = "files"
[compare]
few_shot = [5, "all"]
seeds = [0, 1]
[[compare.backbones]]
name = "mobilenet_v2"
alpha = 0.35
[[compare.heads]]
name = "dense"
units = 8
"""
TEXTS = (WHOLE, *recipes().values())
TABLES = tuple(tomllib.loads(text) for text in TEXTS)
PLUGINS = {
    "dataset": ("digits", "cifar10", "csv", "fashion_mnist", "folder", "arrays"),
    "backbone": ("resnet50_v2", "efficientnet_b0", "mobilenet_v2"),
    "head": ("dense", "linear", "mlp", "knn", "prototype", "logistic"),
    "engine": ("auto", "tensorflow", "openvino"),
    "workflow": ("freeze_and_train",),
}
KEYS = sorted(
    {
        f"{table}.{key}"
        for tables in TABLES
        for table, values in tables.items()
        if isinstance(values, dict)
        for key in values
    }
    | {"reporters", "engine", "compare.seeds", "run", "x.y", "head.name.x", "."}
)


def toml(tables: object) -> bytes:
    try:
        return tomli_w.dumps(tables).encode("utf-8", "surrogatepass")  # type: ignore[arg-type]
    except RecursionError:
        return b"a = " + b"[" * 900
    except (TypeError, ValueError, AttributeError):
        return repr(tables).encode("utf-8", "surrogatepass")


def other_plugins(tables: dict, names: dict[str, str]) -> dict:
    for kind, name in names.items():
        if isinstance(tables, dict) and isinstance(tables.get(kind), dict):
            tables[kind] = {**tables[kind], "name": name}
    return tables


FILES = st.one_of(
    st.builds(
        lambda tables, changes, names: toml(other_plugins(change_values(tables, changes), names)),
        st.sampled_from(TABLES),
        CHANGES_OF_VALUES,
        st.fixed_dictionaries(
            {}, optional={kind: st.sampled_from(names) for kind, names in PLUGINS.items()}
        ),
    ),
    st.builds(
        lambda text, changes: change_bytes(text.encode(), changes),
        st.sampled_from(TEXTS),
        CHANGES_OF_BYTES,
    ),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=60),
)
VALUES = st.one_of(ODD_VALUES.map(str), ODD_VALUES.map(repr), st.text(max_size=20))
ASSIGNMENTS = st.one_of(
    st.builds("{}={}".format, st.sampled_from(KEYS), VALUES),
    st.builds(
        lambda kind, names: f"{kind}.name={names}",
        st.sampled_from(sorted(PLUGINS)),
        st.sampled_from([name for names in PLUGINS.values() for name in names]),
    ),
    st.text(max_size=30),
)
INPUTS = st.tuples(FILES, st.one_of(st.just([]), st.lists(ASSIGNMENTS, max_size=3)))


def test_a_config_is_a_trainer_or_an_error(fuzz, tmp_path):
    registry, path = Registry(), tmp_path / "some.toml"
    store = FeatureStore(tmp_path / "features")

    def read(value):
        content, overrides = value
        path.write_bytes(content)
        trainer = build_trainer(str(path), overrides, runs=None, store=store, registry=registry)
        assert trainer.config["dataset"]["name"]

    fuzz("config", INPUTS, read)


def test_a_recipe_with_set_is_a_trainer_or_an_error(fuzz, tmp_path):
    registry, store = Registry(), FeatureStore(tmp_path / "features")

    def read(value):
        source, overrides = value
        build_trainer(source, overrides, runs=None, store=store, registry=registry)

    sources = st.one_of(st.sampled_from(sorted(recipes())), st.text(max_size=12))
    fuzz("--set", st.tuples(sources, st.lists(ASSIGNMENTS, max_size=4)), read)


def test_a_grid_is_planned_or_an_error(fuzz, tmp_path):
    registry, path = Registry(), tmp_path / "some.toml"
    store = FeatureStore(tmp_path / "features")
    small = tomllib.loads(WHOLE)
    tables = st.builds(
        lambda compare, changes: {**small, "compare": change_values(compare, changes)},
        st.just(small["compare"]),
        CHANGES_OF_VALUES,
    )

    def read(content):
        path.write_bytes(content)
        where = {"runs": tmp_path / "runs", "store": store, "registry": registry}
        assert plan(str(path), (), (), (), (), (), **where).cells

    fuzz("grid", tables.map(toml), read)
