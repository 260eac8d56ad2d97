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
from tlkit.ray_extraction import RayExtraction, Tally
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


class Reports(Tally):
    """Keeps what workers reported."""

    def __init__(self):
        super().__init__()
        self.all = []

    def note(self, report):
        super().note(report)
        self.all.append(report)

    def window(self):
        """Return when every worker had written a shard, when the last was, and images between."""
        first = {}
        for report in sorted(self.all, key=lambda report: report.ended):
            first.setdefault(report.worker, report.ended)
        begin, end = max(first.values()), max(report.ended for report in self.all)
        return begin, end, sum(report.images for report in self.all if report.ended > begin)


class Clock:
    """Notes when images were finished, without Ray; takes the place of the reporters."""

    def __init__(self):
        self.warnings, self.arrived = [], []

    def emit(self, name, *arguments, **more):
        if name == "on_extract_progress" and arguments[1]:
            self.arrived.append((time.time(), arguments[1]))

    def window(self):
        """Return when the first images were there, when the last were, and images between."""
        (begin, warm), (end, last) = self.arrived[0], self.arrived[-1]
        return begin, end, last - warm


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

    points, plain = [], None
    settings = [0] if not (arguments.without_plain or arguments.stand_in) else []
    for workers in (*settings, *arguments.workers):
        extraction = None
        if workers:
            extraction = StandIn(
                RayCluster(workers=workers, cpus_per_worker=1), arguments.stand_in / 1000
            )
            # As many processors as workers, whatever the machine has.
            ray.init(
                address="local",
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
            found.events = clock = Clock()
            begun = time.time()
            if extraction is not None:
                extraction.tally = clock = Reports()
            found.get("train", split, digest)
            total = time.time() - begun
            item = found.log.extractions[-1]
        rows = max(1, SHARD_BYTES // (4 * int(np.prod(model.features.output_shape[1:]))))
        begin, end, images = clock.window()
        stages = {key: round(value, 3) for key, value in item.stage_seconds.items()}
        point = {
            "workers": workers,
            "workers_that_worked": len(item.workers),
            "images": images,
            "seconds": end - begin,
            "start_seconds": begin - begun,
            "shards": max(1, round(images / rows)),
            "shard_images": rows,
            "images_per_second": images / (end - begin),
            "total_seconds": total,
            "cores": number_of_cores(),
            "stand_in_ms": arguments.stand_in,
            "stage_seconds": stages,
            "engine": arguments.engine,
            "image_size": arguments.size,
        }
        if workers:
            points.append(point)
        else:
            plain = point
        print(json.dumps(point), file=sys.stderr, flush=True)
        if extraction is not None:
            extraction.close()
            ray.shutdown()
    print(json.dumps({"points": points, "without_ray": plain}, indent=2))


if __name__ == "__main__":
    main()
