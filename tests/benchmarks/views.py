"""What stored augmented views buy in accuracy, and what they cost."""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tlkit.runtime import keep_freed_memory

keep_freed_memory()

from tlkit import Augmentation, Trainer


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="CIFAR-10 as .npz with x_train, y_train, x_test, y_test")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--views", type=int, nargs="+", default=[0, 1, 2, 4, 8])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--crop", type=float, default=Augmentation().crop)
    parser.add_argument("--colour", type=float, default=Augmentation().colour)
    parser.add_argument("--head", default="dense")
    arguments = parser.parse_args()
    for views in arguments.views:
        accuracies, seconds = [], []
        for seed in arguments.seeds:
            begin = time.perf_counter()
            result = Trainer(
                backbone={"name": "mobilenet_v2", "image_size": arguments.image_size},
                head=arguments.head,
                dataset={"name": "cifar10", "path": arguments.data},
                workflow={
                    "name": "freeze_and_train",
                    "epochs": arguments.epochs,
                    "learning_rate": arguments.learning_rate,
                },
                reporters=[],
                views=views,
                augmentation=Augmentation(crop=arguments.crop, colour=arguments.colour),
                seed=seed,
                runs=None,
            ).run()
            accuracies.append(result.accuracy)
            seconds.append(time.perf_counter() - begin)
        spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
        extracted = result.seconds["features"]
        print(
            f"views {views}: {statistics.mean(accuracies):.1%} +- {spread:.1%}, first run "
            f"{seconds[0]:.1f} s, last {seconds[-1]:.1f} s (features {extracted:.1f} s)",
            flush=True,
        )


if __name__ == "__main__":
    main()
