"""A sweep's record with everything in it, also names that would break a page."""

from __future__ import annotations

import math

from tests.report.conftest import HOSTILE as NAMES
from tlkit.documents.sweep import SweepDocument

HOSTILE = " ".join(name for name in NAMES if name.isascii())


def make_sweep(folder, trials=40, **changes):
    """Write the record of a sweep, and return what it says."""
    name = "<img src=x onerror=alert(1)>"
    units = [2 ** (1 + number % 8) for number in range(trials)]
    found = [
        {
            "number": number,
            "state": ("finished", "finished", "pruned", "failed")[number % 4],
            "values": {
                "head.units": units[number],
                "workflow.learning_rate": 10 ** (-4 + 3 * number / trials),
                "head.name": (name, "mlp")[number % 2],
                **({"head.dropout": 0.1} if number % 2 else {}),
            },
            "value": None if number % 4 == 3 else 0.5 + 0.4 * math.sin(number),
            "metrics": {} if number % 4 == 3 else {"val_loss": 1.0 + number / 50},
            "epochs": 3,
            "seconds": {"features": 0.0, "training": 0.5, "total": 0.75},
            "error": f"it failed: {HOSTILE}" if number % 4 == 3 else None,
            "where": "host:1",
        }
        for number in range(trials)
    ]
    best = max(
        (item for item in found if item["state"] == "finished"),
        key=lambda item: item["value"],
        default=None,
    )
    figures = {
        "accuracy": 0.69,
        "interval": (0.68, 0.7),
        "validation_accuracy": 0.7,
        "test_images": 1000,
        "test_fingerprint": "a",
        "labels_fingerprint": "b",
        "features_seconds": 1.0,
        "features_stored": True,
        "training_seconds": 1.0,
        "total_seconds": 2.0,
        "parameters": 10,
        "model_bytes": 10,
        "images_per_second": None,
        "train_images": 100,
        "smallest_class": 3,
    }
    cell = {
        "backbone": "best",
        "head": "dense",
        "few_shot": 0,
        "seed": 0,
        "name": "",
        "digest": "1",
        "folder": folder,
        "figures": figures,
        "error": None,
        "reused": False,
    }
    values = {
        "folder": folder,
        "study": HOSTILE,
        "source": HOSTILE,
        "overrides": [f"run.name={HOSTILE}"],
        "storage": "sqlite:///study.db",
        "engine": "optuna",
        "metric": "val_accuracy",
        "larger_is_better": True,
        "sampler": "tpe",
        "pruner": "median",
        "seed": 0,
        "wanted": 50,
        "space": {
            "head.units": {"type": "int", "low": 2, "high": 256, "log": True, "when": {}},
            "workflow.learning_rate": {"type": "float", "low": 1e-4, "high": 0.1, "log": True},
            "head.name": {"type": "choice", "choice": [name, "mlp"]},
            "head.dropout": {"type": "float", "low": 0, "high": 1, "when": {"head.name": "mlp"}},
        },
        "trials": found,
        "at_work": 0,
        "best": None if best is None else best["number"],
        "best_config": folder / "best.toml",
        "importance": {
            "evaluator": "fANOVA",
            "shares": {"head.units": 0.7, "workflow.learning_rate": 0.3},
            "trials": 20,
            "left_out": ["head.dropout"],
            "reason": "",
        },
        "tested": {
            "default": {**cell, "digest": "2"},
            "best": cell,
            "difference": 0.02,
            "interval": (0.01, 0.03),
            "p_value": 0.01,
            "sentence": "best is right on more images.",
        },
        "seconds": {"trials": 10.0, "total": 20.0},
        "notes": [HOSTILE],
        "report": None,
    }
    sweep = SweepDocument.model_validate(values | changes)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.json").write_text(sweep.text())
    (folder / "best.toml").write_text(f'[run]\nname = "{HOSTILE}"\n', errors="replace")
    return sweep
