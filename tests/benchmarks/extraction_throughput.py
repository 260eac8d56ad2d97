"""Extraction into the feature store against the engine alone on arrays in memory, in turns.

The engine alone gets the best of four batch sizes. The store gets the same pixels, which have the
backbone's size already, and once more pictures of 32 x 32 that it must resize.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tlkit.runtime import keep_freed_memory

keep_freed_memory()

import numpy as np

from tlkit import Registry
from tlkit.extraction import Pipeline, number_of_workers
from tlkit.feature_filling import Wanted
from tlkit.features import FeatureStore
from tlkit.model import assemble
from tlkit.resizing import make_resizer


def raw(forward, pixels, batch_size):
    """Images per second of the engine on resized pixels that are in memory already."""
    batches = [pixels[first : first + batch_size] for first in range(0, len(pixels), batch_size)]
    begin = time.perf_counter()
    with ThreadPoolExecutor(number_of_workers()) as pool:
        for _ in pool.map(forward, batches):
            pass
    return len(pixels) / (time.perf_counter() - begin)


def stored(forward, resize, images, size, shape, folder):
    """Images per second of resizing, extraction and writing, and the batch size it found."""
    pipeline = Pipeline(forward, resize, size)
    wanted = Wanted(
        "k", (len(images), *shape), "benchmark", lambda start: pipeline.run(images, start)
    )
    begin = time.perf_counter()
    FeatureStore(Path(folder)).get(wanted)
    return len(images) / (time.perf_counter() - begin), pipeline.profile.batch_size


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 96])
    parser.add_argument("--engines", nargs="+", default=["tensorflow", "openvino"])
    parser.add_argument("--seconds", type=float, default=8.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    registry = Registry()
    head = registry.create("head", "dense")
    for size in arguments.sizes:
        backbone = registry.create("backbone", "mobilenet_v2", image_size=size, weights="random")
        model = assemble(backbone, head, 10)
        resize = make_resizer(model.resize)
        small = np.random.default_rng(0).integers(0, 256, (1024, 32, 32, 3)).astype(np.uint8)
        for name in arguments.engines:
            forward = registry.create("engine", name).compile(model.features)
            some = resize(small[:512])
            sizes = (32, 64, 128, 256)
            best = max(sizes, key=lambda batch: max(raw(forward, some, batch) for _ in range(2)))
            rate = raw(forward, some, best)
            count = max(1024, int(rate * arguments.seconds) // 1024 * 1024)
            sources = {
                "resized already": np.tile(some, (count // 512, 1, 1, 1)),
                "with resizing": np.tile(small, (count // 1024, 1, 1, 1)),
            }
            shape = model.features.output_shape[1:]
            raw_rates, found = [], {key: [] for key in sources}
            for _ in range(arguments.rounds):
                repeats = [raw(forward, some, best) for _ in range(count // 512)]
                raw_rates.append(statistics.harmonic_mean(repeats))
                for key, images in sources.items():
                    with tempfile.TemporaryDirectory() as folder:
                        found[key].append(stored(forward, resize, images, size, shape, folder))
            alone = statistics.median(raw_rates)
            print(f"{size} pixels, {name}: engine alone {alone:,.0f} images/s (batch {best})")
            for key, measured in found.items():
                whole = statistics.median(rate for rate, _ in measured)
                batches = sorted({batch for _, batch in measured})
                print(
                    f"  extracted and stored, {key}: {whole:,.0f} (batch {batches}): "
                    f"{whole / alone:.0%}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
