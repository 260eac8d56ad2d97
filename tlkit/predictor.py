"""Predictor: a finished run's model, applied to picture files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlkit import run_folder
from tlkit.errors import DataError, RunFolderError
from tlkit.images import list_pictures, read_picture, without_warnings
from tlkit.model import RESIZE_LAYER
from tlkit.resizing import make_resizer, stack_resized

BATCH_SIZE = 32


@dataclass(frozen=True)
class Prediction:
    """What the model says of one picture.

    Attributes:
        path: The file.
        classes: The most probable class names, the most probable first.
        confidences: Their probabilities, 0 to 1.
        error: Why the file could not be read; None if it could.
    """

    path: str
    classes: tuple[str, ...] = ()
    confidences: tuple[float, ...] = ()
    error: str | None = None


def predict(folder: Path | str, inputs: Sequence[Path | str], top: int = 1) -> Iterator[Prediction]:
    """Classify picture files with the model of a finished run.

    Args:
        folder: The run folder.
        inputs: Files, and folders whose pictures are taken, sub-folders included.
        top: How many classes to give for each picture, 1 or more.

    Yields:
        One prediction for each picture, in the order of the inputs.

    Raises:
        RunFolderError: If the run has no readable model.
        DataError: If an input does not exist, or there is no picture at all.
    """
    if top < 1:
        raise DataError(f"top = {top} is not allowed: 1 or more.")
    paths = find_pictures(inputs)
    class_names = run_folder.load_run(folder).info.class_names
    model = run_folder.load_model(folder)
    try:
        resize = make_resizer(model.get_layer(RESIZE_LAYER))
    except ValueError as err:
        raise RunFolderError(f"The model in {folder} was not saved by tlkit: {err}") from err
    for first in range(0, len(paths), BATCH_SIZE):
        chunk = paths[first : first + BATCH_SIZE]
        with without_warnings():
            pictures = [_read(path) for path in chunk]
        readable = [item for item in pictures if isinstance(item, np.ndarray)]
        rows: Iterator[np.ndarray] = iter(())
        if readable:
            rows = iter(model.predict_on_batch(stack_resized(readable, resize)))
        for path, picture in zip(chunk, pictures, strict=True):
            if isinstance(picture, str):
                yield Prediction(str(path), error=picture)
                continue
            probabilities = next(rows)
            best = np.argsort(-probabilities, kind="stable")[:top]
            yield Prediction(
                str(path),
                tuple(class_names[i] for i in best),
                tuple(float(probabilities[i]) for i in best),
            )


def find_pictures(inputs: Sequence[Path | str]) -> list[Path]:
    """Return the files among the inputs, and the pictures in the folders among them.

    Raises:
        DataError: If an input does not exist, or there is no picture at all.
    """
    found: list[Path] = []
    for item in inputs:
        path = Path(item).expanduser()
        if path.is_dir():
            found += list_pictures(path, recursive=True)
        elif path.exists():
            found.append(path)
        else:
            raise DataError(f"There is no file or folder {path}.")
    if not found:
        raise DataError(f"No picture in {', '.join(str(item) for item in inputs)}.")
    return found


def _read(path: Path) -> np.ndarray | str:
    try:
        return read_picture(path)
    except DataError as err:
        return str(err)
