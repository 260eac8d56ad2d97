"""What one image costs one core: decoding, resizing, the backbone, storing, and the head.

Seconds are processor time of one thread, so that other work on the machine changes them little. The
pictures are the two photographs that scikit-learn ships, as JPEG files of 500 pixels' width. The
output is JSON, which ``scale.py`` reads.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["OMP_NUM_THREADS"] = "1"

from tlkit.runtime import keep_freed_memory

keep_freed_memory()

import numpy as np

WIDTH = 500


def seconds_each(work, count, seconds):
    """Return the processor time of one of the ``count`` items that a call works on."""
    work()
    begin, done = time.process_time(), 0
    while time.process_time() - begin < seconds or not done:
        work()
        done += count
    return (time.process_time() - begin) / done


def photographs():
    """Return the two photographs as JPEG files."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    files = []
    for pixels in load_sample_images().images:
        picture = Image.fromarray(pixels)
        picture.thumbnail((WIDTH, WIDTH))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


def extraction(size, engines, seconds):
    """Return the seconds of each stage for one image, and the bytes of its file and features."""
    from tlkit import Registry
    from tlkit.encoded_pictures import EncodedPictures
    from tlkit.fingerprint import digest_of_digests
    from tlkit.images import read_picture
    from tlkit.model import assemble
    from tlkit.resizing import make_resizer, stack_resized

    files = photographs()
    pictures = [read_picture(file) for file in files] * 16
    registry = Registry()
    backbone = registry.create("backbone", "mobilenet_v2", image_size=size, weights="random")
    model = assemble(backbone, registry.create("head", "dense"), 10)
    resize = make_resizer(model.resize)
    pixels = stack_resized(pictures, resize)
    encoded = EncodedPictures(files * 64)
    found = {
        "digest": seconds_each(lambda: digest_of_digests(encoded.digests()), 128, seconds),
        "decode": seconds_each(lambda: [read_picture(file) for file in files], 2, seconds),
        "resize": seconds_each(lambda: stack_resized(pictures, resize), len(pictures), seconds),
    }
    for name in engines:
        forward = registry.create("engine", name).compile(model.features)
        found[name] = seconds_each(lambda run=forward: run(pixels), len(pixels), seconds)
    width = int(np.prod(model.features.output_shape[1:]))
    return {
        "image_size": size,
        "engine": min(engines, key=found.__getitem__),
        "file_bytes": sum(map(len, files)) / len(files),
        "feature_bytes": 4 * width,
        "seconds": found,
    }


def storing(width, seconds):
    """Return the seconds of writing one image's features into the store, digests included."""
    import tempfile
    from pathlib import Path

    from tlkit.features import FeatureStore, Wanted

    features = np.random.default_rng(0).random((8192, width), np.float32)

    def work():
        with tempfile.TemporaryDirectory() as folder:
            wanted = Wanted("k", features.shape, "benchmark", lambda start: iter_rows(start))
            FeatureStore(Path(folder)).get(wanted)

    def iter_rows(start):
        for first in range(start, len(features), 128):
            yield features[first : first + 128]

    return seconds_each(work, len(features), seconds)


def head(width, seconds):
    """Return the seconds of one row in one epoch of the head that is the default."""
    import keras

    from tlkit.fitting import Fitter
    from tlkit.training_examples import Examples

    generator = np.random.default_rng(0)
    features = generator.random((16_384, width), np.float32)
    labels = generator.integers(0, 10, len(features))
    model = keras.Sequential(
        [
            keras.Input((width,)),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(10),
        ]
    )
    fitter = Fitter(model, keras.optimizers.Adam(), 32)
    examples = Examples(features, labels, np.arange(len(features)))
    return seconds_each(lambda: fitter.train_epoch(examples, 0, 1), len(features), seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 224])
    parser.add_argument("--engines", nargs="+", default=["tensorflow", "openvino"])
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    arguments = parser.parse_args()
    from tlkit.runtime import require_tensorflow_backend

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    require_tensorflow_backend(one_thread_per_operation=True)
    measured = [extraction(size, arguments.engines, arguments.seconds) for size in arguments.sizes]
    width = measured[0]["feature_bytes"] // 4
    document = {
        "extraction": measured,
        "store_seconds": storing(width, arguments.seconds),
        "head_seconds": head(width, arguments.seconds),
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
