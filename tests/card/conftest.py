"""Finished runs: written without training, and a real small one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.builtin.reporters.conftest import make_result
from tlkit import Registry, RunResult, Trainer, run_folder, run_json
from tlkit.card.facts import Facts

WORKFLOW = {"name": "freeze_and_train", "epochs": 5, "batch_size": 32, "learning_rate": 0.001}
CONFIG = {
    "run": {"name": "fake", "seed": 0, "validation": 0.1, "save": ["keras"]},
    "dataset": {"name": "cifar10"},
    "backbone": {"name": "mobilenet_v2", "image_size": 96, "weights": "imagenet", "alpha": 1.0},
    "head": {"name": "dense", "units": 128, "dropout": 0.3},
    "workflow": WORKFLOW,
    "reporters": [{"name": "plots", "dpi": 50}],
}
DUPLICATES = {"test": 0, "validation": 0, "train": 0, "label_conflicts": 0}


@pytest.fixture
def facts(tmp_path):
    """Return facts of a result that no one trained; keywords change tables of its config."""

    def make(*args, tables=None, **keywords) -> Facts:
        config = {**CONFIG, **(tables or {})}
        values = {"config": config, "duplicates": DUPLICATES, "folder": tmp_path} | keywords
        return Facts(make_result(*args, **values), Registry(entry_points=False))

    return make


@pytest.fixture
def write_run(tmp_path):
    """Return a function that writes a result as a run folder."""

    def write(result: RunResult, name: str = "run") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        result = replace(result, info=replace(result.info, folder=folder))
        arrays = {"labels": result.test.labels, "probabilities": result.test.probabilities}
        np.savez(folder / run_folder.PREDICTIONS, **arrays)
        record = json.dumps(run_json.to_json(result))
        (folder / run_folder.RUN).write_text(record)
        return folder

    return write


@pytest.fixture(scope="module")
def real_run(tmp_path_factory) -> Path:
    """The folder of the class exercise on a few pictures, with random weights."""
    folder = tmp_path_factory.mktemp("real")
    generator = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 60), ("test", 30)):
        labels = np.arange(count) % 10
        images = generator.integers(0, 120, (count, 32, 32, 3))
        images[np.arange(count), :, :, labels % 3] += 100
        arrays[f"x_{part}"] = images.astype(np.uint8)
        arrays[f"y_{part}"] = labels.astype(np.int64)
    np.savez(folder / "small.npz", **arrays)
    trainer = Trainer(
        backbone={
            "name": "mobilenet_v2",
            "image_size": 32,
            "weights": "random",
            "preprocessing": "unit",
            "alpha": 0.35,
        },
        head={"name": "dense", "units": 8},
        dataset={"name": "cifar10", "path": str(folder / "small.npz")},
        workflow={"name": "freeze_and_train", "epochs": 2},
        reporters=[{"name": "plots", "dpi": 50}],
        validation="test",
        name="classic-small",
        runs=folder / "runs",
    )
    found = trainer.run().folder
    assert found is not None
    return found
