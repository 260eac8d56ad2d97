"""``tlkit predict`` over a folder against the engine alone on resized pixels, in turns.

The engine alone gets pixels that are resized and in memory already, from as many threads and in
batches of the same size. Reading and resizing take time of the same processors, so that the folder
cannot reach it: the bound is what is left when reading and resizing, measured alone in as many
threads, are added to the engine's time. ``predict`` is the command's own loop with a CSV file.

Beside the clock the processor's seconds of this process are compared: what other programs take
changes them little, and where all processors are busy their ratio is that of the rates.
"""

from __future__ import annotations

import argparse
import os
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


def in_threads(function, batches) -> None:
    with ThreadPoolExecutor(number_of_workers()) as pool:
        for _ in pool.map(function, batches):
            pass


def predict_to_file(classifier, found, batch_size: int) -> None:
    with (
        tempfile.TemporaryDirectory() as place,
        answer_file(Path(place, "answers.csv"), 1) as file,
    ):
        for item in classify(classifier, found, batch_size=batch_size):
            file.write(item)
        file.close(None)


def seconds_of(function) -> np.ndarray:
    """Return the seconds by the clock and of the processor that a call takes."""
    begin = time.perf_counter(), time.process_time()
    function()
    return np.subtract((time.perf_counter(), time.process_time()), begin)


def measure(classifier, folder: Path, rounds: int, batch_size: int) -> None:
    found = find_pictures([folder])
    count = len(found)
    starts = range(0, count, batch_size)
    some = classifier.stack([read_picture(item.path) for item in found[: 4 * batch_size]])
    pixels = [some[(first % len(some)) :][:batch_size] for first in starts]
    files = [[item.path for item in found[first : first + batch_size]] for first in starts]
    sides = {
        "engine": lambda: in_threads(classifier.probabilities, pixels),
        "read": lambda: in_threads(
            lambda paths: classifier.stack([read_picture(path) for path in paths]), files
        ),
        "predict": lambda: predict_to_file(classifier, found, batch_size),
    }
    seconds: dict[str, list[np.ndarray]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            took = seconds_of(side)
            if number:  # the first round warms up
                seconds[name].append(took)
    engine, read, predict = (np.stack(items) for items in seconds.values())
    rates = [count / np.median(item[:, 0]) for item in (engine, read, predict)]
    print(
        f"{folder.name}, {classifier.engine}, batches of {batch_size}: engine {rates[0]:,.0f}, "
        f"reading and resizing {rates[1]:,.0f}, predict {rates[2]:,.0f} pictures/s"
    )
    for column, name in enumerate(("clock", "processor")):
        share = engine[:, column] / predict[:, column]
        bound = engine[:, column] / (engine[:, column] + read[:, column])
        print(
            f"  by the {name}: predict / engine {np.median(share):.2f} ({share.min():.2f} to "
            f"{share.max():.2f}), bound / engine {np.median(bound):.2f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="CIFAR-10 as .npz; cifar10-lossless.npz will do")
    parser.add_argument("--count", type=int, default=5000, help="pictures in each folder")
    parser.add_argument("--engines", nargs="+", default=["openvino", "tensorflow"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[96, 224], help="input of the model"
    )
    arguments = parser.parse_args()
    images = np.load(arguments.data)["x_test"]
    with tempfile.TemporaryDirectory() as place:
        # Input size of the model, side of the pictures, share of the count.
        for size, side, share in ((96, 32, 1.0), (224, 224, 0.2)):
            if size not in arguments.sizes:
                continue
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
