"""A small config, a space for it, and a registry with the tiny plugins."""

from __future__ import annotations

import pytest

from tests.tiny import Colours, TinyBackbone
from tlkit import Registry, run_sweep
from tlkit.features import FeatureStore

CONFIG = """
[run]
name = "tiny"
validation = 0.3
[dataset]
name = "colours"
[backbone]
name = "tiny"
[head]
name = "dense"
units = 8
dropout = 0.0
[workflow]
epochs = 2
learning_rate = 0.01
batch_size = 16
"""
SPACE = {
    "head.units": {"type": "int", "low": 2, "high": 32, "log": True},
    "workflow.learning_rate": {"type": "float", "low": 1e-4, "high": 0.1, "log": True},
}


def make_registry() -> Registry:
    registry = Registry(entry_points=False)
    registry.register(TinyBackbone)
    registry.register(Colours)
    return registry


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def sweep(tmp_path, config):
    """Runs a sweep of the tiny config; the test set is left alone unless a test asks for it."""

    def call(space=SPACE, **changes):
        arguments = {
            "trials": 3,
            "output": tmp_path / "sweep",
            "store": FeatureStore(tmp_path / "features"),
            "registry": make_registry(),
            "overrides": ["reporters=[]"],
            "test": False,
        }
        return run_sweep(config, space, **(arguments | changes))

    return call
