"""Run tlkit over folders of 10,000 to 300,000 small pictures: time, and peak memory."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CHILD = """
import json, resource, sys, time
from tlkit.runtime import keep_freed_memory, require_tensorflow_backend
keep_freed_memory()
require_tensorflow_backend()
def status(key):
    line = next(x for x in open("/proc/self/status") if x.startswith(key))
    return int(line.split()[1]) * 1024
base = status("VmHWM")
from tlkit import Trainer
begin = time.perf_counter()
result = Trainer(
    backbone={"name": "mobilenet_v2", "alpha": 0.35, "weights": "cifar10", "image_size": 32},
    dataset={"name": "folder", "path": sys.argv[1]},
    workflow={"name": "freeze_and_train", "epochs": 2},
    reporters=[], runs=None,
).run()
seconds = time.perf_counter() - begin
print(json.dumps({"base": base, "peak": status("VmHWM"), "seconds": seconds,
                  "parts": dict(result.seconds), "accuracy": result.accuracy,
                  "engines": [e.engine for e in result.extractions]}))
"""


def make_pictures(folder: Path, count: int, data: Path) -> None:
    """Write JPEG pictures, 80 % to train/ and the rest to test/: CIFAR-10, shifted to differ."""
    from PIL import Image

    with np.load(data) as arrays:
        images = np.concatenate([arrays["x_train"], arrays["x_test"]])
        labels = np.concatenate([arrays["y_train"].ravel(), arrays["y_test"].ravel()])
    for part in ("train", "test"):
        for label in range(10):
            (folder / part / f"class_{label}").mkdir(parents=True)
    for row in range(count):
        which, shift = row % len(images), row // len(images)
        part = "test" if row % 5 == 0 else "train"
        path = folder / part / f"class_{labels[which]}" / f"{row:06}.jpg"
        Image.fromarray(np.roll(images[which], shift, axis=1)).save(path, quality=90)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="CIFAR-10 as .npz with x_train, y_train, ...")
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 30_000, 100_000, 300_000])
    arguments = parser.parse_args()
    print("pictures  seconds  per 1,000  peak above the interpreter's  parts", flush=True)
    for count in arguments.counts:
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            make_pictures(Path(folder) / "pictures", count, arguments.data)
            made = time.perf_counter() - begin
            child = subprocess.run(
                [sys.executable, "-c", CHILD, str(Path(folder) / "pictures")],
                env={
                    **os.environ,
                    "TLKIT_CACHE": str(Path(folder) / "cache"),
                    "TF_CPP_MIN_LOG_LEVEL": "3",
                },
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            )
        found = json.loads(child.stdout.splitlines()[-1])
        seconds = found["seconds"] - found["parts"]["start"]
        parts = ", ".join(f"{key} {value:.1f}" for key, value in found["parts"].items())
        print(
            f"{count:8,}  {seconds:7.1f}  {seconds / count * 1000:9.2f}  "
            f"{(found['peak'] - found['base']) / 2**20:,.0f} MiB  {parts}; "
            f"{found['engines']}; accuracy {found['accuracy']:.3f}; made in {made:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
