"""Downloading published datasets, and a clear word where there is no internet."""

from __future__ import annotations

import os
from pathlib import Path

from tlkit import (
    DataError,
    expand_home,
)


def keras_datasets_folder() -> Path:
    """Return the folder that Keras keeps datasets in."""
    return expand_home(os.environ.get("KERAS_HOME") or "~/.keras") / "datasets"


def download(url: str, sha256: str | None, dataset: str, layout: str) -> Path:
    """Return a file of Keras' cache, downloaded if it is not there.

    Args:
        url: Where it is published.
        sha256: Its digest, if known.
        dataset: The dataset's name, for errors.
        layout: What ``path`` of the dataset may be, for errors.

    Raises:
        DataError: If it cannot be downloaded.
    """
    import keras

    file_name = url.rsplit("/", 1)[-1]
    try:
        return Path(keras.utils.get_file(file_name, origin=url, file_hash=sha256))
    except Exception as err:  # Keras raises a bare Exception
        raise DataError(
            f"Cannot download the dataset {dataset}: {err}\n"
            f"Wanted: {url}\n"
            f"Without internet, put that file at {keras_datasets_folder() / file_name}\n"
            f"or set [dataset] path to {layout}\n"
            f"(on the command line: --set dataset.path=...), or run what needs no download: "
            f"tlkit run quickstart"
        ) from err
