"""What a finished run leaves for MLflow: its files, its data sets by digest, its model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tlkit import RunResult, load_model
from tlkit_mlflow.server import LINK

_MODELS = ("model.keras", "model.h5")
# Up to 800 test images: data, which stays where it is.
_IMAGES = "test_images.zip"
_DIGEST_LIMIT = 36


def log_files(folder: Path) -> None:
    """Log a run folder's files, without the model, test_images.zip and half-written ones."""
    import mlflow

    for path in _files(folder):
        place = path.parent.relative_to(folder).as_posix()
        mlflow.log_artifact(str(path), None if place == "." else place)


def log_data(result: RunResult) -> None:
    """Log the training and test images as data sets, by name and digest; no image is sent."""
    import mlflow
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    table = result.info.config.get("dataset", {})
    source = CodeDatasetSource(tags={key: str(value) for key, value in table.items()})
    for split, context in (("train", "training"), ("test", "test")):
        digest = result.fingerprints.get(split)
        if digest:
            name = str(table.get("name", "dataset"))
            data = MetaDataset(source, name=name, digest=digest[:_DIGEST_LIMIT])
            mlflow.log_input(data, context=context)


def model_of(result: RunResult) -> Any:
    """Return a result's model; that of a run that was read back comes from its folder."""
    if result.model is not None or result.folder is None:
        return result.model
    if not any((result.folder / name).is_file() for name in _MODELS):
        return None
    return load_model(result.folder)


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in parts)
        apart = len(parts) == 1 and path.name in (*_MODELS, _IMAGES, LINK)
        if path.is_file() and not hidden and not apart:
            yield path
