"""Feature map: a finished run's test images laid out by their features."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tlkit import run_folder
from tlkit.dataset import DatasetSource
from tlkit.errors import ConfigError, DataError
from tlkit.explain.features import features_of
from tlkit.explain.map_picture import draw_map
from tlkit.explain.parts import find_parts
from tlkit.explain.projection import project
from tlkit.explain.records import FeatureMap
from tlkit.explain.saving import save_figure
from tlkit.explain.test_set import load_test_images, sample
from tlkit.explain.writing import FOLDER
from tlkit.features import FeatureStore
from tlkit.mirror import put_back
from tlkit.store_urls import local_place

MAX_POINTS = 2000
_LEAST_POINTS = 4


def draw_maps(
    folder: Path | str,
    *,
    points: int = MAX_POINTS,
    out: Path | None = None,
    dataset: DatasetSource | None = None,
    store: FeatureStore | None = None,
) -> Iterator[FeatureMap]:
    """Draw maps of a finished run's test features: PCA, t-SNE, and UMAP if it is installed.

    The features are what the head receives. They come from the feature store where they are there,
    and are computed by the saved model otherwise.

    Args:
        folder: The run folder.
        points: The most images to show, 4 or more; of a larger test set so many are drawn at
            random, always the same ones.
        out: Folder for the PNGs; by default ``explanations`` in the run folder.
        dataset: Where the images come from; by default what the run's ``config.toml`` names.
        store: Where features are kept; by default the user's cache folder.

    Yields:
        One map for each projection.

    Raises:
        RunFolderError: If the run has no readable model, or a PNG cannot be written.
        DataError: If the test images cannot be loaded, are not those of the run, or too few.
        ConfigError: If ``points`` is out of range.
    """
    if points < _LEAST_POINTS:
        raise ConfigError(f"points = {points} is not allowed: {_LEAST_POINTS} or more.")
    run = run_folder.load_run(folder)
    assert run.folder is not None
    total = len(run.test.labels)
    if total < _LEAST_POINTS:
        raise DataError(f"A map needs {_LEAST_POINTS} test images or more; {folder} has {total}.")
    split = load_test_images(run, dataset)
    model = run_folder.load_model(run.folder)
    rows = sample(run, points)
    features, source = features_of(run, model, find_parts(model), split, rows, store)
    labels, predictions = run.test.labels[rows], run.test.predictions[rows]
    mistakes = int((labels != predictions).sum())
    shown = f"{len(rows):,} of {total:,}" if len(rows) < total else f"all {total:,}"
    for projection in project(features):
        figure = draw_map(
            projection,
            labels,
            predictions,
            run.info.class_names,
            f"{run.info.name}: test features, {projection.title}",
            f"{shown} test images, {mistakes:,} mistakes ringed",
        )
        target = local_place(out) if out is not None else run.folder / FOLDER
        path = target / f"map-{projection.name}.png"
        save_figure(figure, path)
        put_back(path)
        yield FeatureMap(projection.name, len(rows), total, mistakes, source, path)
