"""Test images: a finished run's test set, loaded again and checked to be the same."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from tlkit import run_folder
from tlkit.config.reading import read_config
from tlkit.dataset import DatasetSource, load_data
from tlkit.errors import DataError, TlkitError
from tlkit.fingerprint import digest_images
from tlkit.records import Int64Array, RunResult, Split
from tlkit.registry import Registry
from tlkit.run_data import data_of_run


def load_test_images(run: RunResult, dataset: DatasetSource | None = None) -> Split:
    """Load the test images of a finished run again.

    Args:
        run: What ``load_run()`` returned.
        dataset: Where the images come from; by default what the run's ``config.toml`` names.

    Returns:
        The test images with their labels, in the order of ``run.test.labels``.

    Raises:
        DataError: If the dataset cannot be loaded, or its test images or labels have changed.
    """
    folder = run.folder
    try:
        # What does not depend on the dataset, such as an engine that is not installed here, is not
        # made.
        config = read_config(f"{folder}/{run_folder.CONFIG}")
        lineage = run.info.lineage
        if dataset is None and lineage is not None and lineage.replayed_classes:
            return data_of_run(run, Registry()).data.test
        if dataset is None:
            options = config.dataset.model_extra or {}
            where = f"[dataset] in {folder}/{run_folder.CONFIG}"
            made = Registry().create("dataset", config.dataset.name, where, **options)
            dataset = cast(DatasetSource, made)
        data = load_data(dataset, config.run.seed)
    except TlkitError as err:
        raise DataError(
            f"The test images of {folder} are needed and cannot be loaded: {err}\n"
            f"Put the data back, start where its path leads to it, or in Python give `dataset=`. "
            f"Picture files can be explained without it: tlkit explain {folder} IMAGE..."
        ) from err
    recorded = run.fingerprints.get("test")
    same = np.array_equal(data.test.labels, run.test.labels)
    if not same or recorded != digest_images(data.test.images):
        what = "images" if same else "labels"
        raise DataError(
            f"The test {what} of dataset '{dataset.name}' are not those that {folder} was tested "
            f"on: its fingerprint differs. Put the data back as it was, or run it again: "
            f"tlkit run {folder}/{run_folder.CONFIG}"
        )
    return data.test


def take(split: Split, rows: Int64Array) -> Any:
    """Return some images of a split: an array, or a list of pictures where they are read lazily."""
    images = split.images
    return images[rows] if isinstance(images, np.ndarray) else [images[int(row)] for row in rows]


def image_name(split: Split, row: int) -> str:
    """Return what a test image is called."""
    return split.names[row] if split.names else f"test image {row}"


def sample(run: RunResult, count: int) -> Int64Array:
    """Return rows of test images drawn at random, always the same ones; sorted."""
    total = len(run.test.labels)
    rows = np.random.default_rng(0).permutation(total)[: min(count, total)]
    return np.sort(rows)
