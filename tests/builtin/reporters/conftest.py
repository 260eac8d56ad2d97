from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlkit import Ancestor, Evaluation, Lineage, Phase, PhaseResult, RunInfo, RunResult
from tlkit.calibration import measure_calibration, softmax
from tlkit.evaluation import evaluate

CIFAR10 = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
NASTY = (
    "[bold]red",
    "[/]",
    "\x1b[31mESC\x1b[0m\x07",
    "\u202eevil",
    "long " * 60,
    "$x$ $\\frac$",
    "=cmd()|' /C calc'!A0",
    "😀🚀",
    "猫と犬と鳥と魚と馬と鹿と蛙と船",
    "two\nlines\ttab",
)

_ANCESTORS = tuple(
    Ancestor(
        name="animals",
        folder=f"/home/somebody/runs/{name}",
        began="2026-11-24T12:08:16+01:00",
        model="0" * 64,
        accuracy=0.875,
        num_test=40,
        backbone="mobilenet_v2",
        head="dense",
        num_classes=9,
        epochs=5,
    )
    for name in ("20261124-120816-animals", "20261120-101010-[bold]first")
)
LINEAGE = Lineage(
    ancestors=_ANCESTORS,
    head="grown",
    new_classes=("truck",),
    replayed_classes=("cat", "dog"),
    known_test_images=450,
    accuracy_before=0.875,
    accuracy_after=0.75,
    seen_test_images=3,
    seen_validation_images=None,
)


def make_result(
    class_names: tuple[str, ...] = CIFAR10,
    count: int = 500,
    folder: Path | None = None,
    epochs: tuple[int, ...] = (5, 3),
    validation: bool = True,
    loss: float | None = None,
    skill: float = 0.7,
    missing_class: bool = False,
    temperature: float | None = None,
    applied: bool = False,
    **info: Any,
) -> RunResult:
    generator = np.random.default_rng(0)
    labels = np.arange(count) % (len(class_names) - missing_class)
    guesses = np.where(
        generator.random(count) < skill, labels, generator.integers(0, len(class_names), count)
    )
    probabilities = np.full((count, len(class_names)), 0.3 / len(class_names), np.float32)
    probabilities[np.arange(count), guesses] += 0.7
    labels, logits = labels.astype(np.int64), np.log(probabilities)
    reason = "" if temperature else "validation is the test set"
    calibration = measure_calibration(labels, logits, temperature, reason=reason, applied=applied)
    if applied:
        probabilities = softmax(logits, temperature or 1.0)
    test = evaluate(labels, probabilities, class_names, calibration)
    phases = tuple(
        make_phase(name, number, validation, loss, start)
        for name, number, start in zip(("frozen", "fine-tune"), epochs, (0, 5), strict=False)
    )
    config = {
        "dataset": {"name": "cifar10", "folder": None},
        "backbone": {"name": "mobilenet_v2", "image_size": 96, "alpha": 1.0, "weights": "imagenet"},
        "head": {"name": "dense", "units": 128, "dropout": 0.3},
        "workflow": {"name": "freeze_and_train", "epochs": 5, "learning_rate": 0.001},
    }
    values: dict[str, Any] = {"name": "cifar10", "config": config, "notes": ()} | info
    return RunResult(
        info=RunInfo(
            folder=folder,
            class_names=class_names,
            num_train=45000,
            num_validation=5000,
            num_test=count,
            **values,
        ),
        phases=phases,
        test=test,
        seconds={
            "data": 1.23,
            "model": 2.5,
            "features": 33.1,
            "training": 12.0,
            "evaluation": 0.4,
            "saving": 0.2,
            "total": 48.9,
        },
        fingerprints={},
        environment={},
        feature_cache={"train": "stored", "test": "extracted"},
    )


def make_phase(
    name: str, epochs: int, validation: bool, loss: float | None, start: int
) -> PhaseResult:
    steps = [start + index for index in range(epochs)]
    history = {
        "loss": [1.5 / (step + 1) + 0.3 if loss is None else loss for step in steps],
        "accuracy": [0.85 - 0.5 / (step + 1) for step in steps],
    }
    if validation:
        history["val_loss"] = [1.3 / (step + 1) + 0.5 for step in steps]
        history["val_accuracy"] = [0.8 - 0.4 / (step + 1) for step in steps]
    return PhaseResult(Phase(name, epochs, 1407, 45000, 165258, 2257984), history, 3.2 * epochs)


def as_recorded_before(result: RunResult) -> RunResult:
    """Return a result without the figures that earlier versions did not measure."""
    test = result.test
    old = Evaluation(
        test.accuracy,
        test.loss,
        test.labels,
        test.probabilities,
        test.confusion_matrix,
        test.classes,
        test.averages,
    )
    return dataclasses.replace(result, test=old)


@pytest.fixture
def old_result() -> RunResult:
    return as_recorded_before(make_result())


@pytest.fixture
def fake_result() -> Callable[..., RunResult]:
    return make_result


@pytest.fixture
def nasty_names() -> tuple[str, ...]:
    return NASTY
