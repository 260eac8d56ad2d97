"""Change one key of the fine-tuning at a time, and see what it does to the test accuracy.

    python tests/benchmarks/fine_tuning_ablation.py cifar10-lossless.npz

MobileNetV2 with ImageNet weights on CIFAR-10 (.npz with x_train, y_train, x_test, y_test), from a
logistic regression on its frozen features. Every variant runs with each seed, which decides the
validation split, the batches and the views. What was measured is kept in the output file; an
interrupted table goes on from there. `--only NAME` measures some of the variants.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from tlkit import atomic_write_text
from tlkit.config.building import build_trainer

VARIANTS: dict[str, dict[str, object]] = {
    "as it comes": {},
    "no fine-tuning": {"fine_tune_epochs": 0},
    "schedule = constant": {"schedule": "constant"},
    "warmup = 0": {"warmup": 0.0},
    "layer_decay = 1": {"layer_decay": 1.0},
    "layer_decay = 0.75": {"layer_decay": 0.75},
    "unfreeze = 3": {"unfreeze": 3},
    "unfreeze = 11": {"unfreeze": 11},
    "unfreeze = 11, fine_tune_views = 4": {"unfreeze": 11, "fine_tune_views": 4},
    "unfreeze_every = 1, unfreeze = 8": {"unfreeze_every": 1, "unfreeze": 8},
    "label_smoothing = 0": {"label_smoothing": 0.0},
    "augment = false": {"augment": False},
    "mixup = 0.2": {"mixup": 0.2},
    "cutmix = 1": {"cutmix": 1.0},
    "weight_decay = 0": {"weight_decay": 0.0},
    "weight_decay = 0.1": {"weight_decay": 0.1},
    "ema = 0.99": {"ema": 0.99},
    "clip_norm = 0": {"clip_norm": 0.0},
    "fine_tune_early_stopping = 0": {"fine_tune_early_stopping": 0},
    "fine_tune_learning_rate = 1e-4": {"fine_tune_learning_rate": 1e-4},
    "fine_tune_learning_rate = 2e-3": {"fine_tune_learning_rate": 2e-3},
}


def measure(arguments: argparse.Namespace, changes: dict[str, object], seed: int) -> dict:
    settings = {"fine_tune_epochs": arguments.epochs, **changes}
    overrides = [
        f"dataset.path={arguments.data}",
        f"backbone.image_size={arguments.image_size}",
        "head.name=logistic",
        f"run.seed={seed}",
        "reporters=[]",
        *(f"workflow.{key}={json.dumps(value)}" for key, value in settings.items()),
    ]
    begin = time.monotonic()
    result = build_trainer("cifar10", overrides, runs=None).run()
    return {
        "accuracy": result.accuracy,
        "loss": result.test.loss,
        "seconds": time.monotonic() - begin,
        "training": result.phases[-1].seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--output", type=Path, default=Path("ablation.json"))
    arguments = parser.parse_args()
    done = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    for seed in arguments.seeds:
        for name in arguments.only:
            key = f"{name}, {arguments.image_size} px, {arguments.epochs} epochs, seed {seed}"
            if key not in done:
                done[key] = measure(arguments, VARIANTS[name], seed)
                atomic_write_text(arguments.output, json.dumps(done, indent=2))
            print(f"{key}: {done[key]}", flush=True)
    print("\n| changed | test accuracy | against as it comes | loss | seconds |")
    print("|---|---|---|---|---|")
    base = None
    for name in arguments.only:
        rows = [
            done[f"{name}, {arguments.image_size} px, {arguments.epochs} epochs, seed {seed}"]
            for seed in arguments.seeds
        ]
        accuracy = 100 * np.mean([row["accuracy"] for row in rows])
        loss, seconds = (np.mean([row[key] for row in rows]) for key in ("loss", "training"))
        base = accuracy if base is None else base
        change = "" if name == arguments.only[0] else f"{accuracy - base:+.1f}"
        print(f"| {name} | {accuracy:.1f} % | {change} | {loss:.3f} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
