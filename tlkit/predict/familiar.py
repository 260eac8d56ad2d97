"""What is familiar to a run: learned from its training images once, and kept in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tlkit.archives import check_zip
from tlkit.atomic import atomic_path
from tlkit.classifier import Classifier
from tlkit.errors import ConfigError, DataError, RunFolderError, TlkitError
from tlkit.extraction import Pipeline
from tlkit.familiarity import Familiarity, fit_familiarity
from tlkit.images import without_warnings
from tlkit.mirror import put_back
from tlkit.model_parts import find_parts, inner_layers
from tlkit.records import Float32Array, ImageSequence, Int64Array, RunResult
from tlkit.registry import Registry
from tlkit.run_data import data_of_run
from tlkit.run_folder import load_model

FILE = "familiarity.npz"
# More images hardly change the figures.
TRAIN_IMAGES, VALIDATION_IMAGES = 2000, 1000
_NAMES = ("layers", "mean", "precision", "limit")


def load_familiarity(run: RunResult) -> Familiarity | None:
    """Read what was learned before; None if nothing was.

    Raises:
        RunFolderError: If the file is damaged.
    """
    path = _path(run)
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            check_zip(arrays.zip, [f"{name}.npy" for name in _NAMES])
            layers, mean, precision, limit = (arrays[name] for name in _NAMES)
        found = Familiarity(tuple(map(str, layers)), mean, precision, float(limit))
        if not len(found.layers) or mean.ndim != 1 or precision.shape != (len(mean),) * 2:
            raise ValueError(f"its arrays are of shapes {mean.shape} and {precision.shape}")
        if not (np.isfinite(mean).all() and np.isfinite(precision).all() and found.limit > 0):
            raise ValueError("its numbers are not finite")
    except Exception as err:  # whatever a damaged file makes the parsers raise
        raise RunFolderError(
            f"{path} is damaged: {type(err).__name__}: {err}. Delete it; it is then made again."
        ) from err
    return found


def learn_familiarity(run: RunResult, registry: Registry | None = None) -> Familiarity:
    """Run training images through the backbone, fit the Gaussian and keep it in the run folder.

    Args:
        run: What ``load_run()`` returned.
        registry: Where the data set and engines are looked up.

    Raises:
        DataError: If the run's data cannot be loaded, or is not what the run was made from.
        ConfigError: If the backbone's inside cannot be seen.
        RunFolderError: If the file cannot be written.
    """
    registry = registry if registry is not None else Registry()
    folder = run.folder
    assert folder is not None
    layers = inner_layers(find_parts(load_model(folder)).backbone)
    if not layers:
        raise ConfigError(
            f"--flag-unfamiliar is not possible with {folder}: its backbone gives no maps of its "
            f"inner layers. Leave it out; --target-accuracy needs no such maps."
        )
    try:
        found = data_of_run(run, registry)
    except TlkitError as err:
        raise DataError(
            f"To know what is familiar, the training images of {folder} are needed, and they "
            f"cannot be loaded: {err}\nPut the data back, or leave out --flag-unfamiliar."
        ) from err
    classifier = Classifier.open(
        folder, features=layers, images=TRAIN_IMAGES + VALIDATION_IMAGES, registry=registry
    )
    train, held_out = found.subsets["train"], found.subsets["validation"]
    rows = _draw(train.rows, TRAIN_IMAGES)
    if found.on_test:  # nothing may be chosen by the test images
        rows, rest = np.array_split(rows, [-(-2 * len(rows) // 3)])
        held_out, other = train, rest
    else:
        other = _draw(held_out.rows, VALIDATION_IMAGES)
    if len(rows) < 2 or not len(other):
        raise DataError(f"{len(rows)} training images are too few to know what is familiar.")
    familiarity = fit_familiarity(
        layers,
        _features(classifier, train.split.images, rows),
        _features(classifier, held_out.split.images, other),
    )
    _save(_path(run), familiarity)
    return familiarity


def _path(run: RunResult) -> Path:
    assert run.folder is not None
    return run.folder / FILE


def _draw(rows: Int64Array, count: int) -> Int64Array:
    """Return some rows, drawn at random, always the same ones."""
    chosen: Int64Array = np.random.default_rng(0).permutation(rows)[:count]
    return chosen


class _Rows:
    """Some images of a sequence, read when they are asked for."""

    def __init__(self, images: ImageSequence, rows: Int64Array) -> None:
        self._images, self._rows = images, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._images[int(self._rows[index])]


def _features(classifier: Classifier, images: ImageSequence, rows: Int64Array) -> Float32Array:
    def forward(pixels: Any) -> Any:
        return classifier.answer(pixels).features

    pipeline = Pipeline(forward, classifier.stack, classifier.image_size)
    chosen: Any = _Rows(images, rows)
    with without_warnings():
        return np.concatenate(list(pipeline.run(chosen)))


def _save(path: Path, found: Familiarity) -> None:
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                layers=np.array(found.layers),
                mean=found.mean,
                precision=found.precision,
                limit=np.float64(found.limit),
            )
        put_back(path)
    except OSError as err:
        raise RunFolderError(f"Cannot write {path}: {err.strerror or err}.") from err
