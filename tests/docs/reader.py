"""What a reader of the documentation has: pictures, runs, files of the pages, a bucket."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.docs.blocks import blocks
from tlkit import Reporter
from tlkit.config.building import build_trainer

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
HEAD = '''
from tlkit import Head


class Cosine(Head):
    """The cosine of the angle between features and a direction for each class."""

    name = "my_cosine"

    def __init__(self, scale: float = 10.0) -> None:
        self.scale = scale

    def build(self, feature_shape, num_classes):
        import keras

        features = keras.Input(feature_shape)
        directions = keras.layers.Dense(num_classes, use_bias=False, kernel_constraint="unit_norm")
        logits = directions(keras.layers.UnitNormalization()(features))
        return keras.Model(features, keras.layers.Rescaling(self.scale)(logits))
'''
# What takes minutes as the pages have it; the least that still does the same.
_SHORTER = {
    r"(fine_tune_epochs=)\d+": r"\g<1>1",
    r"(workflow\.epochs=)\d+": r"\g<1>1",
    r"^1,5,20,all$": "1,all",
    r"^0,1,2(,\d)*$": "0",
    r"/shared/": "{place}/",
    r"s3://lab/runs/\d{8}-\d{6}-\w+": "{run}",
}


def make_data(folder):
    """Write CIFAR-10 in small, a folder of pictures, a table of them, and single ones."""
    generator = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 200), ("test", 60)):
        labels = np.arange(count) % 10
        images = generator.integers(0, 160, (count, 32, 32, 3)) + 9 * labels[:, None, None, None]
        arrays |= {f"x_{split}": images.astype(np.uint8), f"y_{split}": labels}
    np.savez(folder / "cifar10.npz", **arrays)
    np.savez(folder / "cifar10-lossless.npz", **arrays)
    rows = ["path,label"]
    for index in range(150):
        name = CLASSES[index % 10]
        for root in ("pictures", "more")[index >= 6 :]:
            save(arrays["x_train"][index], folder / root / name / f"{index}.png")
        rows.append(f"more/{name}/{index}.png,{name}")
        for root, numbers in (("eight", range(8)), ("two", (8, 9)), ("all", range(10))):
            if index % 10 in numbers:
                part = "test" if index >= 120 else "train"
                save(arrays["x_train"][index], folder / root / part / name / f"{index}.png")
    (folder / "birds.csv").write_text("\n".join(rows))
    for name in ("photo.jpg", "holiday.jpg", "cat.jpg", "dog.png"):
        save(arrays["x_test"][3], folder / name)
    (folder / "my_head.py").write_text(HEAD)
    (folder / "token").write_text("a-token-of-more-than-32-characters-0123456789")
    [space, *_] = [block.text for block in blocks("toml") if block.page.endswith("how-to/sweep.md")]
    (folder / "space.toml").write_text(space)


def save(pixels, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def make_runs(text, place):
    """Put a finished run where a command names one."""
    for name in re.findall(r"(?<!/)\bruns/([\w-]+)", text) or ["one"] * text.startswith(
        "tlkit report runs"
    ):
        (place / "runs").mkdir(exist_ok=True)
        if not (place / "runs" / name).exists():
            shutil.copytree(place / "RUN", place / "runs" / name)


class _Stop(Reporter):
    def on_epoch_end(self, *epoch):
        raise KeyboardInterrupt


def interrupt(place, folder, changes):
    """Begin a run, interrupt it, and call its folder as the page does."""
    changes = [item for item in changes if item != "--set" and "epochs" not in item]
    trainer = build_trainer("quickstart", [item for item in changes if "dataset" not in item])
    trainer.listeners = [_Stop()]
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    [made] = (place / "runs").iterdir()
    made.rename(place / folder)


def open_store(s3, place):
    """Make the buckets of the pages, with pictures in one; return the client."""
    for name in ("lab", "bucket"):
        s3.client.create_bucket(Bucket=name)
    for root, target in (("pictures", "pictures"), ("more", "digits")):
        for path in (place / root).rglob("*.png"):
            key = f"{target}/{path.relative_to(place / root)}"
            s3.client.put_object(Bucket="lab", Key=key, Body=path.read_bytes())
    return s3.client


def shorten(arguments, place, client):
    """Return the words of a command so that it ends soon, with the runs that were made."""
    run = ""
    if client is not None:
        found = client.list_objects_v2(Bucket="lab", Prefix="runs/").get("Contents", ())
        run = max((f"s3://lab/runs/{item['Key'].split('/')[1]}" for item in found), default="")
    words = []
    for before, word in zip(["", *arguments], arguments, strict=False):
        for pattern, shorter in _SHORTER.items():
            word = re.sub(
                pattern, shorter.replace("{place}", str(place)).replace("{run}", run), word
            )
        if before == "--trials":
            word = "2"
        if "*" in word and (fitting := sorted(place.glob(word))):
            word = str(fitting[-1])
        words.append(word)
    return words


def stays(arguments):
    """Return the keys of a config that a command of the pages keeps as they are."""
    keys = {word.partition("=")[0] for word in arguments if "=" in word}
    if arguments[1] == "quickstart" or arguments[1].endswith("best.toml"):
        keys |= {"dataset.path"}
    if arguments[1] == "--from":  # the run has the rest
        keys |= {"dataset.path", "backbone.image_size", "backbone.weights", "backbone.alpha"}
    if "--backbones" in arguments:
        keys |= {"backbone.name"}
    return keys
