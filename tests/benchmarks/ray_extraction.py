"""Extraction by the workers of a Ray cluster on this machine, beside extraction without Ray.

Real CIFAR-10, shard by shard of about 1 MB of features. Time counts from the moment at which every
worker has written its first shard; what comes before, the start of Ray, of TensorFlow and of the
workers, is given apart. More workers than the machine has cores compute no faster: with
``--stand-in`` workers wait for each image instead of computing, everything else (reading, dispatch,
the object store, writing shards, gathering them) being as it is, so that its share can be measured
with more workers than cores. The output is JSON, which ``scale.py`` reads.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tlkit.runtime import keep_freed_memory

keep_freed_memory()

import numpy as np

from tlkit import Registry, Split
from tlkit.augmentation import Augmentation
from tlkit.engine_choice import EngineChooser
from tlkit.events import Events
from tlkit.feature_source import ExtractionLog, FeatureSource
from tlkit.features import FeatureStore
from tlkit.fingerprint import digest_images, digest_model
from tlkit.model import assemble
from tlkit.ray_cluster import RayCluster
from tlkit.ray_extraction import RayExtraction
from tlkit.resizing import make_resizer
from tlkit.runtime import number_of_cores
from tlkit.shards import SHARD_BYTES
from tlkit.test_time_augmentation import PLAIN


class StandIn(RayExtraction):
    """Workers that wait for each image instead of computing."""

    def __init__(self, cluster, seconds):
        super().__init__(cluster)
        self.seconds = seconds

    def compute(self, work, images, array, shards):
        def waiting(cpus):
            return dataclasses.replace(work(cpus), stand_in_seconds=self.seconds)

        return super().compute(waiting if self.seconds else work, images, array, shards)


class Clock:
    """Notes when shards arrived; takes the place of the reporters."""

    def __init__(self, extraction=None):
        self.extraction, self.warnings, self.arrived = extraction, [], []
        self.begin = time.monotonic()

    def emit(self, name, *arguments, **more):
        if name == "on_extract_progress" and arguments[1]:
            workers = 0 if self.extraction is None else len(self.extraction.tally.images)
            self.arrived.append((time.monotonic(), arguments[1], workers))

    def point(self, workers):
        """Return images, and seconds for them, after every worker had come to work."""
        most = max(number for _, _, number in self.arrived)
        warm = next(item for item in self.arrived if item[2] == most)
        end = self.arrived[-1]
        return {
            "workers": workers,
            "workers_that_worked": most,
            "images": end[1] - warm[1],
            "seconds": end[0] - warm[0],
            "start_seconds": warm[0] - self.begin,
        }


def source(model, backbone, head, engine, folder, extraction, shared):
    registry = Registry(entry_points=False)
    candidates, _ = registry.engines()
    chosen = registry.create("engine", engine, "the command line")
    return FeatureSource(
        model.features,
        digest_model(model, backbone, head),
        backbone,
        FeatureStore(folder / "features", shared),
        EngineChooser(chosen, candidates, folder / "engines"),
        Events([]),
        make_resizer(model.resize),
        ExtractionLog(),
        Augmentation(),
        cluster=extraction,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=96, help="the backbone's, in pixels")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument(
        "--stand-in", type=float, default=0.0, help="milliseconds to wait for each image"
    )
    parser.add_argument("--store", default="", help="a folder or URL that shards are written to")
    parser.add_argument("--without-plain", action="store_true")
    arguments = parser.parse_args()
    data = np.load(Path(os.environ["TLKIT_TEST_HOME"]) / "cifar10.npz")
    split = Split(data["x_train"][: arguments.images], data["y_train"][: arguments.images].ravel())
    registry = Registry(entry_points=False)
    backbone = registry.create(
        "backbone", arguments.backbone, "the command line", image_size=arguments.size
    )
    head = registry.create("head", "dense", "the command line")
    model = assemble(backbone, head, 10)
    digest = digest_images(split.images)
    import ray

    points = []
    settings = [0] if not (arguments.without_plain or arguments.stand_in) else []
    for workers in (*settings, *arguments.workers):
        extraction = None
        if workers:
            extraction = StandIn(
                RayCluster(workers=workers, cpus_per_worker=1), arguments.stand_in / 1000
            )
            # As many processors as workers, whatever the machine has.
            ray.init(
                num_cpus=workers,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=500 * 2**20,
            )
        with tempfile.TemporaryDirectory() as folder:
            shared = f"{arguments.store}/{workers}-{time.time()}" if arguments.store else ""
            found = source(
                model, backbone, head, arguments.engine, Path(folder), extraction, shared
            )
            # The engine is compiled and compared before the clock starts.
            found._pipeline(split.images, split, PLAIN, len(split))
            found.events = clock = Clock(extraction)
            found.get("train", split, digest)
            total = time.monotonic() - clock.begin
            item = found.log.extractions[-1]
        rows = max(1, SHARD_BYTES // (4 * int(np.prod(model.features.output_shape[1:]))))
        point = clock.point(workers)
        stages = {key: round(value, 3) for key, value in item.stage_seconds.items()}
        point |= {
            "shards": round(point["images"] / rows, 2),
            "shard_images": rows,
            "images_per_second": point["images"] / point["seconds"],
            "total_seconds": total,
            "cores": number_of_cores(),
            "stand_in_ms": arguments.stand_in,
            "stage_seconds": stages,
            "engine": arguments.engine,
            "image_size": arguments.size,
        }
        points.append(point)
        print(json.dumps(point), file=sys.stderr, flush=True)
        if extraction is not None:
            extraction.close()
            ray.shutdown()
    print(json.dumps({"points": points}, indent=2))


if __name__ == "__main__":
    main()
