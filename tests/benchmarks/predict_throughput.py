"""``tlkit predict`` over a folder against the engine alone on resized pixels, in turns.

The engine alone gets pixels that are resized and in memory already, from as many threads and in
batches of the same size. Reading and resizing take time of the same processors, so that the folder
cannot reach it: the bound is what is left when each picture's reading and resizing, measured alone
in as many threads, is added to the engine's time. Each side takes the answers to the end: the
command's own loop with a CSV file.
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

from tlkit.runtime import keep_freed_memory, number_of_cores, require_tensorflow_backend

keep_freed_memory()
require_tensorflow_backend(one_thread_per_operation=True)

import numpy as np
from PIL import Image

from tlkit import Classifier, Trainer, read_picture
from tlkit.extraction import number_of_workers
from tlkit.predict.files import answer_file
from tlkit.predictor import classify, find_pictures


def make_folder(folder: Path, images, side: int, count: int) -> None:
    """Write pictures: PNGs of 32 pixels as they are, larger ones as JPEGs, enlarged."""
    folder.mkdir()

    def save(number: int) -> None:
        picture = Image.fromarray(images[number % len(images)])
        if side == 32:
            picture.save(folder / f"{number:06d}.png")
        else:
            size = (side, side)
            picture.resize(size, Image.Resampling.BICUBIC).save(
                folder / f"{number:06d}.jpg", quality=90
            )

    with ThreadPoolExecutor() as pool:
        list(pool.map(save, range(count)))


def in_threads(function, batches) -> float:
    """Return the seconds that all batches take."""
    begin = time.perf_counter()
    with ThreadPoolExecutor(number_of_workers()) as pool:
        for _ in pool.map(function, batches):
            pass
    return time.perf_counter() - begin


def measure(classifier, folder: Path, rounds: int, batch_size: int) -> None:
    found = find_pictures([folder])
    count = len(found)
    starts = range(0, count, batch_size)
    some = classifier.stack([read_picture(item.path) for item in found[: 4 * batch_size]])
    pixels = [some[(first % len(some)) :][:batch_size] for first in starts]
    files = [[item.path for item in found[first : first + batch_size]] for first in starts]
    rates: dict[str, list[float]] = {"engine": [], "read": [], "predict": []}
    for number in range(rounds + 1):
        measured = {
            "engine": in_threads(classifier.probabilities, pixels),
            "read": in_threads(
                lambda paths: classifier.stack([read_picture(path) for path in paths]), files
            ),
        }
        with tempfile.TemporaryDirectory() as place:
            begin = time.perf_counter()
            with answer_file(Path(place, "answers.csv"), 1) as file:
                for item in classify(classifier, found, batch_size=batch_size):
                    file.write(item)
                file.close(None)
            measured["predict"] = time.perf_counter() - begin
        if number:  # the first round warms up
            for name, seconds in measured.items():
                rates[name].append(count / seconds)
    engine, read, predict = (statistics.median(rates[name]) for name in rates)
    shares = [p / e for p, e in zip(rates["predict"], rates["engine"], strict=True)]
    bounds = [
        p * (1 / e + 1 / r)
        for p, e, r in zip(rates["predict"], rates["engine"], rates["read"], strict=True)
    ]
    print(
        f"{folder.name:12} {classifier.engine:10} batch {batch_size:3}: engine {engine:6.0f}, "
        f"reading and resizing {read:6.0f}, predict {predict:6.0f} pictures/s; predict/engine "
        f"{statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f}), predict/bound "
        f"{statistics.median(bounds):.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="CIFAR-10 as .npz; cifar10-lossless.npz will do")
    parser.add_argument("--count", type=int, default=5000, help="pictures in each folder")
    parser.add_argument("--engines", nargs="+", default=["openvino", "tensorflow"])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    images = np.load(arguments.data)["x_test"]
    with tempfile.TemporaryDirectory() as place:
        # Input size of the model, side of the pictures, share of the count.
        for size, side, share in ((96, 32, 1.0), (224, 224, 0.2)):
            run = Trainer(
                {"name": "mobilenet_v2", "image_size": size, "weights": "random"},
                dataset={"name": "digits"},
                workflow={"name": "freeze_and_train", "epochs": 1},
                reporters=[],
                few_shot=5,
                runs=Path(place, "runs"),
            ).run()
            kind = "PNG" if side == 32 else "JPEG"
            folder = Path(place, f"{kind}-{side}")
            make_folder(folder, images, side, max(64, int(arguments.count * share)))
            for engine in arguments.engines:
                classifier = Classifier.open(run.folder, engine)
                batch_size = 64 if size == 96 else 16
                measure(classifier, folder, arguments.rounds, batch_size)
    print(f"{number_of_cores()} processors, {number_of_workers()} threads")


if __name__ == "__main__":
    main()
