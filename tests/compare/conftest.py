"""A grid of the tiny backbone: no downloads, a second for each cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import Colours, TinyBackbone
from tlkit import Registry, compare_grid
from tlkit.features import FeatureStore

CONFIG = """
[dataset]
name = "colours"

[backbone]
name = "tiny"

[head]
name = "dense"
units = 8

[workflow]
name = "freeze_and_train"
epochs = 2
learning_rate = 0.01

[[reporters]]
name = "rich"
"""


class Wider(TinyBackbone):
    """The tiny backbone with other pixels."""

    name = "wider"

    def __init__(self, image_size: int = 20, weights: str = "random") -> None:
        super().__init__(image_size, weights)


class Unbuildable(TinyBackbone):
    """Its weights are missing."""

    name = "unbuildable"

    def build(self):
        raise ValueError("no weights here\nand a second line")


@pytest.fixture
def registry():
    found = Registry(entry_points=False)
    for plugin in (TinyBackbone, Wider, Unbuildable, Colours):
        found.register(plugin)
    return found


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def grid(tmp_path, config, registry):
    """Run a grid in ``tmp_path/out``; keeps the lines it says in ``grid.said``."""

    def run(**arguments):
        run.said.clear()
        values = {
            "output": tmp_path / "out",
            "store": FeatureStore(tmp_path / "features"),
            "registry": registry,
            "say": run.said.append,
        }
        return compare_grid(config, **(values | arguments))

    run.said = []
    return run
