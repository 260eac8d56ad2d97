"""Weights: those that ship inside tlkit, and a clear word when others cannot be downloaded."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

from tlkit import (
    WeightsError,
    expand_home,
)

if TYPE_CHECKING:
    import keras

SHIPPED = "mobilenet_v2_0.35_cifar10.npz"
SHIPPED_ALPHA = 0.35


def load_shipped(model: keras.Model, *, alpha: float) -> keras.Model:
    """Load the CIFAR-10 weights that ship inside tlkit.

    Args:
        model: MobileNetV2 without top.
        alpha: Its width.

    Returns:
        The same model.

    Raises:
        WeightsError: If the width is not 0.35.
    """
    import numpy as np

    if alpha != SHIPPED_ALPHA:
        raise WeightsError(
            f"[backbone] weights = 'cifar10' are for alpha = {SHIPPED_ALPHA}; received {alpha}. "
            f"Set alpha = {SHIPPED_ALPHA}, or use weights = 'imagenet'."
        )
    with as_file(files("tlkit.builtin.backbones") / SHIPPED) as path, np.load(path) as arrays:
        for weight in model.weights:
            weight.assign(arrays[weight.path].astype("float32"))
    return model


@contextmanager
def no_download(backbone: str) -> Iterator[None]:
    """Turn Keras' failure to download weights into one error that says what to do."""
    try:
        yield
    except ValueError as err:
        raise WeightsError(f"keras.applications refuses these settings: {err}") from err
    except Exception as err:
        match = re.search(r"URL fetch failure on (\S+?):? ", str(err))
        if match is None:
            raise
        url = match.group(1)
        home = expand_home(os.environ.get("KERAS_HOME", "~/.keras"))
        raise WeightsError(
            f"Cannot download the ImageNet weights of {backbone}: {err}\n"
            f"Wanted: {url}\n"
            f"Without internet, put that file at {home / 'models' / url.rsplit('/', 1)[-1]}\n"
            f"(KERAS_HOME moves this folder), or run what needs no download: tlkit run quickstart"
        ) from err
