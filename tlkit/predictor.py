"""Predictor: a finished run's model, applied to picture files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlkit import run_folder
from tlkit.errors import DataError, RunFolderError
from tlkit.images import read_picture, scan_pictures, without_warnings
from tlkit.model import RESIZE_LAYER
from tlkit.out_of_memory import in_halves
from tlkit.paths import expand_home
from tlkit.records import UInt8Array
from tlkit.resizing import Resizer, make_resizer, stack_resized
from tlkit.runtime import no_talk_of_retracing

BATCH_SIZE = 32
LARGE = 3 * 8_000_000


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
    found = find_pictures(inputs)
    class_names = run_folder.load_run(folder).info.class_names
    model = run_folder.load_model(folder)
    try:
        resize = make_resizer(model.get_layer(RESIZE_LAYER))
    except ValueError as err:
        raise RunFolderError(f"The model in {folder} was not saved by tlkit: {err}") from err
    for first in range(0, len(found), BATCH_SIZE):
        chunk = found[first : first + BATCH_SIZE]
        with without_warnings():
            pictures = [_read(item, resize) for item in chunk]
        readable = [item for item in pictures if isinstance(item, np.ndarray)]
        rows: Iterator[np.ndarray] = iter(())
        if readable:
            with no_talk_of_retracing():
                pixels = stack_resized(readable, resize)
                rows = iter(in_halves(model.predict_on_batch, pixels, lambda size: None))
        for item, picture in zip(chunk, pictures, strict=True):
            if isinstance(picture, str):
                yield Prediction(str(item.path), error=picture)
                continue
            probabilities = next(rows)
            best = np.argsort(-probabilities, kind="stable")[:top]
            yield Prediction(
                str(item.path),
                tuple(class_names[i] for i in best),
                tuple(float(probabilities[i]) for i in best),
            )


@dataclass(frozen=True)
class PictureInput:
    """A picture to look at.

    Attributes:
        path: The file.
        refused: Why it must not be read; empty if it may.
    """

    path: Path
    refused: str = ""

    def read(self) -> UInt8Array:
        """Return its RGB pixels, uint8 (height, width, 3).

        Raises:
            DataError: If it must not, or cannot, be read.
        """
        if self.refused:
            raise DataError(self.refused)
        return read_picture(self.path)


def find_pictures(inputs: Sequence[Path | str]) -> list[PictureInput]:
    """Return the files among the inputs, and the pictures in the folders among them.

    Links in a folder that lead out of it are refused; a link that is given itself is read.

    Raises:
        DataError: If an input does not exist, or there is no picture at all.
    """
    found: list[PictureInput] = []
    for item in inputs:
        path = expand_home(item)
        if path.is_dir():
            scan = scan_pictures(path, recursive=True)
            reason = f"is a link that leads out of {path}. Give the file itself to have it read."
            refused = {link: f"{link} {reason}" for link in scan.outside}
            found += [
                PictureInput(file, refused.get(file, ""))
                for file in sorted([*scan.pictures, *scan.outside])
            ]
        elif path.exists():
            found.append(PictureInput(path))
        else:
            raise DataError(f"There is no file or folder {path}.")
    if not found:
        raise DataError(f"No picture in {', '.join(str(item) for item in inputs)}.")
    return found


def _read(item: PictureInput, resize: Resizer) -> np.ndarray | str:
    try:
        picture = item.read()
    except DataError as err:
        return str(err)
    # A batch of the largest pictures that are allowed would not fit into memory.
    return resize(picture[None])[0] if picture.size > LARGE else picture
