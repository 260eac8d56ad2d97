"""Weights: those that ship inside tlkit, and a clear word when others are not to be had."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from tlkit import WeightsError
from tlkit.builtin.keras_home import keras_home, require_own_home

if TYPE_CHECKING:
    import keras

SHIPPED = "mobilenet_v2_0.35_cifar10.npz"
SHIPPED_SHA256 = "24bb23f211488d9a69e46b6d4755c183445a11fbf5680d36599895edad3ff83e"
SHIPPED_ALPHA = 0.35


def load_shipped(model: keras.Model, *, alpha: float) -> keras.Model:
    """Load the CIFAR-10 weights that ship inside tlkit.

    Args:
        model: MobileNetV2 without top.
        alpha: Its width.

    Returns:
        The same model.

    Raises:
        WeightsError: If the width is not 0.35, or the file is not the one that was published.
    """
    import numpy as np

    if alpha != SHIPPED_ALPHA:
        raise WeightsError(
            f"[backbone] weights = 'cifar10' are for alpha = {SHIPPED_ALPHA}; received {alpha}. "
            f"Set alpha = {SHIPPED_ALPHA}, or use weights = 'imagenet' (for alpha = 0.35, 0.5, "
            f"0.75, 1.0, 1.3, 1.4)."
        )
    path = files("tlkit.builtin.backbones") / SHIPPED
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != SHIPPED_SHA256:
        raise WeightsError(
            f"{path} is damaged: its SHA-256 is {found}; that of the published file is "
            f"{SHIPPED_SHA256}. Install tlkit again: pip install --force-reinstall --no-deps tlkit"
        )
    with np.load(io.BytesIO(data)) as arrays:
        for weight in model.weights:
            weight.assign(arrays[weight.path].astype("float32"))
    return model


@contextmanager
def keras_download(backbone: str) -> Iterator[None]:
    """Let Keras find or download weights; turn what goes wrong into one error that says what to do.

    Keras compares files with its hashes where it has some, those of its cache included. A file that
    differs is downloaded again, over the old one; if that fails, Keras deletes it.

    Args:
        backbone: The name of the backbone, for errors.

    Raises:
        WeightsError: If the weights cannot be had, or are not those that Keras published.
    """
    require_own_home(WeightsError)
    folder = keras_home() / "models"
    before = _modification_times(folder)
    try:
        yield
    except Exception as err:
        now = _modification_times(folder)
        fetched = re.search(r"URL fetch failure on (\S+?):? ", str(err))
        if fetched is not None:
            url = fetched.group(1)
            path = folder / url.rsplit("/", 1)[-1]
            raise WeightsError(_not_downloaded(backbone, url, path, path in before, err)) from err
        if "hash does not match" in str(err):
            changed = [str(path) for path, time in now.items() if before.get(path) != time]
            raise WeightsError(
                f"The ImageNet weights of {backbone} that were downloaded to "
                f"{' or '.join(changed) or folder} are not those that Keras published: their hash "
                f"differs. They are not used. The download was cut short or changed on the way: "
                f"try again, over another network if it stays so."
            ) from err
        if isinstance(err, ValueError):
            raise WeightsError(f"keras.applications refuses these settings: {err}") from err
        if isinstance(err, OSError):
            raise WeightsError(
                f"Cannot read the ImageNet weights of {backbone} in {folder}: {err}\n"
                f"Delete the file, so that it is downloaded again."
            ) from err
        raise


def _not_downloaded(backbone: str, url: str, path: Path, was_there: bool, err: Exception) -> str:
    # Keras says the URL again before the reason.
    reason = str(err).rpartition(f"{url}: ")[2].removeprefix("None -- ")
    problem = f"Cannot download the ImageNet weights of {backbone}: {reason}\n"
    if was_there and path.exists():
        problem = (
            f"{path} is there, and Keras did not look there: KERAS_HOME counts only if it is set "
            f"before Keras is imported. Start Python anew with it.\n{problem}"
        )
    elif was_there:
        problem = (
            f"{path} was not the file that Keras published: its hash differs. It is not used. "
            f"Keras deleted it, since to download it again failed: {reason}\n"
        )
    return (
        f"{problem}"
        f"Wanted: {url}\n"
        f"Without internet, put that file at {path}\n"
        f"(KERAS_HOME moves this folder), or run what needs no download: tlkit run quickstart"
    )


def _modification_times(folder: Path) -> dict[Path, int]:
    if not folder.is_dir():
        return {}
    return {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}
