"""Plugins that each break their contract in one way."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import keras
import numpy as np

from tests.tiny import CLASS_NAMES, Colours, TinyBackbone, make_images
from tlkit import ClosedFormHead, Engine, Head, ImageData, Reporter, Split, Workflow


class Refuses(keras.layers.Layer):
    def call(self, inputs: Any) -> Any:
        raise ValueError("no such operation")


def changed(base: type, name: str, **methods: Any) -> type:
    return type(name.title().replace("_", ""), (base,), {"name": name, **methods})


def boom(self: Any, *args: Any, **kwargs: Any) -> Any:
    raise ValueError("boom")


def network_of(*layers: Any, size: int = 16) -> keras.Model:
    return keras.Sequential([keras.Input((size, size, 3)), *layers])


def with_top(self: Any) -> keras.Model:
    network = TinyBackbone.build(self)
    pooled = keras.layers.GlobalAveragePooling2D()(network.output)
    return keras.Model(network.input, keras.layers.Dense(1000, activation="softmax")(pooled))


def two_outputs(self: Any) -> keras.Model:
    network = TinyBackbone.build(self)
    return keras.Model(network.input, [network.output, network.output])


def with_nan(self: Any) -> keras.Model:
    network = TinyBackbone.build(self)
    kernel = network.get_layer("conv_1").kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    return network


def half_precision(self: Any) -> keras.Model:
    return network_of(keras.layers.Conv2D(4, 3, dtype="mixed_float16"))


def in_place(self: Any, images: Any) -> Any:
    if isinstance(images, np.ndarray):
        images /= 255
        return images
    return images / 255


# Each with what the error says beside the plugin's name and distribution.
BACKBONES = {
    "raises in its constructor": (
        changed(TinyBackbone, "constructor", __init__=lambda self: boom(self)),
        "failed in its constructor: ValueError: boom (misbehaving.py, line ",
    ),
    "raises": (changed(TinyBackbone, "raises", build=boom), "failed in build(): ValueError: boom"),
    "exits": (
        changed(TinyBackbone, "exits", build=lambda self: sys.exit(3)),
        "failed in build(): SystemExit: 3",
    ),
    "wants more": (
        changed(TinyBackbone, "wants_more", build=lambda self, size: None),
        "failed in build(): TypeError",
    ),
    "builds nothing": (
        changed(TinyBackbone, "nothing", build=lambda self: None),
        "returned None from build(); allowed: a keras.Model",
    ),
    "keeps its top": (changed(TinyBackbone, "top", build=with_top), "(None, 1000), as one whose"),
    "has two outputs": (changed(TinyBackbone, "two", build=two_outputs), "several outputs"),
    "flattens": (
        changed(
            TinyBackbone,
            "flattens",
            build=lambda self: network_of(keras.layers.Reshape((16 * 16, 3))),
        ),
        "(None, 256, 3); allowed: feature maps (N, height, width, channels)",
    ),
    "computes in float16": (
        changed(TinyBackbone, "half", build=half_precision),
        "gives float16; allowed: float32",
    ),
    "has a layer that raises": (
        changed(TinyBackbone, "refuses", build=lambda self: network_of(Refuses())),
        "no such operation",
    ),
    "raises in preprocess": (
        changed(TinyBackbone, "unprepared", preprocess=boom),
        "failed in preprocess(): ValueError: boom",
    ),
    "changes its input": (
        changed(TinyBackbone, "in_place", preprocess=in_place),
        "changes the images that preprocess() receives",
    ),
    "prepares NaN": (
        changed(TinyBackbone, "undefined", preprocess=lambda self, images: images * np.nan),
        "gives NaN or infinity from preprocess()",
    ),
    "has NaN weights": (changed(TinyBackbone, "nan", build=with_nan), "not finite as float32"),
}


def dense(units: int, **options: Any) -> Any:
    def build(self: Any, feature_shape: Any, num_classes: int) -> keras.Model:
        return keras.Sequential([keras.Input(feature_shape), keras.layers.Dense(units, **options)])

    return build


class Solved(ClosedFormHead):
    build = dense(3)

    def solve(self, train: Any, validation: Any, class_weight: Any) -> Any:
        return self.build(train.features.shape[1:], 3), {}


def solved_to_nan(self: Any, train: Any, validation: Any, class_weight: Any) -> Any:
    return dense(3, bias_initializer=keras.initializers.Constant(np.nan))(
        self, train.features.shape[1:], 3
    ), {}


HEADS = {
    "raises": (changed(Head, "raises", build=boom), "failed in build(): ValueError: boom"),
    "builds nothing": (
        changed(Head, "nothing", build=lambda self, shape, classes: None),
        "returned None from build(); allowed: a keras.Model",
    ),
    "has too many classes": (
        changed(Head, "wide", build=dense(5)),
        "(None, 5); allowed: logits (N, 3)",
    ),
    "ends in softmax": (
        changed(Head, "softmax", build=dense(3, activation="softmax")),
        "gives probabilities; allowed: logits",
    ),
    "pools as it likes": (
        changed(Head, "pools", build=dense(3), pooling="median"),
        "asks for pooling 'median'",
    ),
}
SOLVED_HEADS = {
    "raises": (changed(Solved, "raises", solve=boom), "failed in solve(): ValueError: boom"),
    "solves to NaN": (
        changed(Solved, "nan", solve=solved_to_nan),
        "solved to a head whose loss on the train images is nan",
    ),
}


def loading(**splits: Any) -> Any:
    def load(self: Any, seed: int) -> ImageData:
        train, test = make_images(60, 1), make_images(30, 2)
        given = {"train": Split(*train), "test": Split(*test), "class_names": CLASS_NAMES}
        return ImageData(**(given | splits))

    return load


IMAGES, LABELS = make_images(60, 1)
DATASETS = {
    "raises": (changed(Colours, "raises", load=boom), "failed in load(): ValueError: boom"),
    "loads a dictionary": (
        changed(Colours, "dictionary", load=lambda self, seed: {"train": 1}),
        "returned dict from load(); allowed: ImageData",
    ),
    "labels from 1": (
        changed(Colours, "ones", load=loading(train=Split(IMAGES, LABELS + 1))),
        "labels go from 1 to 3; allowed: 0 to 2",
    ),
    "labels of float64": (
        changed(Colours, "floats", load=loading(train=Split(IMAGES, LABELS * 1.0))),
        "labels are float64",
    ),
    "images of float32": (
        changed(Colours, "scaled", load=loading(train=Split(IMAGES / np.float32(255), LABELS))),
        "needed: uint8",
    ),
    "an empty test set": (
        changed(Colours, "empty", load=loading(test=Split(IMAGES[:0], LABELS[:0]))),
        "test: 0 images and 0 labels",
    ),
    "one class": (changed(Colours, "one", load=loading(class_names=("red",))), "at least 2"),
}

WORKFLOWS = {
    "raises": (changed(Workflow, "raises", run=boom), "failed in run(): ValueError: boom"),
    "trains nothing": (
        changed(Workflow, "lazy", run=lambda self, session: None),
        "trained nothing",
    ),
    "asks for what there is not": (
        changed(Workflow, "asks", run=lambda self, session: session.train_head(rounds=3)),
        "failed in run(): TypeError",
    ),
}


def engine(name: str, forward: Any) -> type:
    return changed(Engine, name, compile=lambda self, model: forward)


ENGINES = {
    "raises": (
        changed(Engine, "raises", compile=boom),
        "failed in compile(): ValueError: boom",
    ),
    "raises when it runs": (
        engine("runs", lambda pixels: boom(None)),
        "failed in what compile() returned: ValueError: boom",
    ),
    "gives NaN": (
        engine("nan", lambda pixels: np.full((len(pixels), 16), np.nan, np.float32)),
        "values that are not finite",
    ),
    "gives another shape": (
        engine("shape", lambda pixels: np.zeros((len(pixels), 7), np.float32)),
        "shape (90, 7) instead of (90, 16)",
    ),
}


def changes_everything(self: Any = None) -> None:
    keras.config.set_dtype_policy("mixed_float16")
    keras.config.set_image_data_format("channels_first")
    keras.utils.set_random_seed(7)
    logging.disable(logging.CRITICAL)
    os.chdir("/")


def builds_and_changes(self: Any) -> keras.Model:
    network = TinyBackbone.build(self)
    changes_everything()
    return network


def loads_and_changes(self: Any, seed: int) -> ImageData:
    changes_everything()
    return Colours.load(self, seed)


EVERYTHING = (
    "changed Keras' dtype policy, Keras' image data format, the seed of Python's random module, "
    "the seed of NumPy's global generator, the root logger, the working directory. That was put "
    "back."
)
ChangesInBuild = changed(TinyBackbone, "changes", build=builds_and_changes)
ChangesInLoad = changed(Colours, "changes", load=loads_and_changes)
ReporterThatExits = changed(Reporter, "exits", on_epoch_end=lambda *_, **__: sys.exit(1))
