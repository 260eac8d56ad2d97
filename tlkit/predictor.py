"""Predictor: a finished run's model, applied to picture files."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.classifier import Classifier
from tlkit.engine import Engine
from tlkit.errors import DataError
from tlkit.extraction import Pipeline
from tlkit.familiarity import Familiarity
from tlkit.images import read_picture, without_warnings
from tlkit.mirror import fetched
from tlkit.paths import with_urls
from tlkit.picture_folders import PICTURE_SUFFIXES, scan_pictures
from tlkit.records import Float32Array, UInt8Array
from tlkit.run_folder import CONFIG, RUN
from tlkit.runtime import no_talk_of_retracing
from tlkit.text import printable
from tlkit.wording import plural

# Larger pictures, in bytes, are resized one by one as they are read: a batch of them as they are
# would take hundreds of megabytes. Smaller ones of one size are resized together, which is faster.
LARGE = 3 * 256 * 256


@dataclass(frozen=True)
class Prediction:
    """What the model says of one picture.

    Attributes:
        path: The file.
        classes: The most probable class names, the most probable first.
        confidences: Their probabilities, 0 to 1.
        error: Why the file could not be read; None if it could.
        abstained: Whether the largest confidence is below the threshold, so that no class is given;
            None where no threshold was asked for.
        distance: How far the picture is from the training images; 1 is what 1 % of the validation
            images exceed. None where it was not asked for.
        unfamiliar: Whether the distance is above 1; None where it was not asked for.
    """

    path: str
    classes: tuple[str, ...] = ()
    confidences: tuple[float, ...] = ()
    error: str | None = None
    abstained: bool | None = None
    distance: float | None = None
    unfamiliar: bool | None = None


def predict(
    run: Path | str | Classifier,
    inputs: Sequence[Path | str],
    top: int = 1,
    *,
    engine: Engine | str | Mapping[str, Any] = "auto",
    batch_size: int = 0,
    threshold: float | None = None,
) -> Generator[Prediction]:
    """Classify picture files with the model of a finished run.

    Pictures are read as they are needed, in as many threads as there are processors, and none stays
    in memory after its batch.

    Args:
        run: The run folder, or a ``Classifier`` that is open already.
        inputs: Files, and folders whose pictures are taken, sub-folders included; or their URLs.
        top: How many classes to give for each picture, 1 or more.
        engine: What runs the model of a run folder; see ``Classifier.open()``.
        batch_size: Pictures in a batch, 1 or more; 0 for the fastest.
        threshold: Where no class is as probable as this, 0 to 1, none is given; see
            ``tlkit.abstention``.

    Yields:
        One prediction for each picture, in the order of the inputs. What is missing, or cannot be
        read, has an ``error`` in place of classes.

    Raises:
        RunFolderError: If the run has no readable model.
        DataError: If there is no picture at all, or a number is out of range.
        EngineError: As ``Classifier.open()``.
    """
    check_numbers(top, batch_size)
    found = find_pictures(inputs)
    if not isinstance(run, Classifier):
        run = Classifier.open(run, engine, images=len(found))
    yield from classify(run, found, top, batch_size=batch_size, threshold=threshold)


def check_numbers(top: int, batch_size: int) -> None:
    """Check how many classes and pictures are asked for.

    Raises:
        DataError: If a number is out of range.
    """
    if top < 1:
        raise DataError(f"top = {top} is not allowed: 1 or more.")
    if batch_size < 0:
        raise DataError(f"batch_size = {batch_size} is not allowed: 1 or more, or 0 to choose it.")


def classify(
    classifier: Classifier,
    found: Sequence[PictureInput],
    top: int = 1,
    *,
    batch_size: int = 0,
    threshold: float | None = None,
    familiarity: Familiarity | None = None,
) -> Generator[Prediction]:
    """Classify pictures that were found.

    Args:
        classifier: What classifies.
        found: What ``find_pictures()`` returned.
        top: How many classes to give for each picture, 1 or more.
        batch_size: Pictures in a batch; 0 for the fastest.
        threshold: Where no class is as probable as this, none is given.
        familiarity: Measures how far pictures are from the training images; the classifier must be
            open with ``features`` of its layers.

    Yields:
        One prediction for each picture, in order.
    """
    names = classifier.class_names
    pictures = _Pictures(found, classifier)
    position = 0

    def failed() -> Iterator[Prediction]:
        nonlocal position
        while (error := pictures.errors.pop(position, None)) is not None:
            yield Prediction(with_urls(str(found[position].path)), error=error)
            position += 1

    pipeline = Pipeline(
        _answering(classifier, familiarity), classifier.stack, classifier.image_size, batch_size
    )
    with without_warnings(), no_talk_of_retracing():
        for found_rows in pipeline.run(pictures):
            rows, more = found_rows[:, : len(names)], found_rows[:, len(names) :]
            order = np.argsort(-rows, axis=1, kind="stable")[:, :top]
            confidences = np.take_along_axis(rows, order, axis=1)
            for best, shares, far in zip(
                order.tolist(), confidences.tolist(), more.tolist(), strict=True
            ):
                yield from failed()
                abstained = None if threshold is None else shares[0] < threshold
                yield Prediction(
                    with_urls(str(found[position].path)),
                    () if abstained else tuple(names[i] for i in best),
                    tuple(shares),
                    abstained=abstained,
                    distance=far[0] if far else None,
                    unfamiliar=far[0] > 1 if far else None,
                )
                position += 1
            yield from failed()


def _answering(classifier: Classifier, familiarity: Familiarity | None) -> Any:
    """Return what makes probabilities, and the distance after them, of resized pictures."""
    columns = len(classifier.class_names) + (familiarity is not None)

    def answer(pixels: Any) -> Float32Array:
        if not len(pixels):
            return np.empty((0, columns), np.float32)
        found = classifier.answer(pixels)
        if familiarity is None:
            return found.probabilities
        assert found.features is not None
        far = familiarity.distances(found.features)
        return np.concatenate([found.probabilities, far[:, None]], axis=1)

    return answer


@dataclass(frozen=True)
class PictureInput:
    """A picture to look at.

    Attributes:
        path: The file.
        refused: Why it must not, or cannot, be read; empty if it may.
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

    Links in a folder that lead out of it are refused; a link that is given itself is read. An input
    that does not exist is refused, and the others are not.

    Raises:
        DataError: If there is no picture at all, or an input is a run folder.
    """
    return scan_inputs(inputs)[0]


def scan_inputs(inputs: Sequence[Path | str]) -> tuple[list[PictureInput], int]:
    """Return what ``find_pictures()`` does, and how many other files the folders hold.

    Others have no suffix of a picture; hidden files are not counted.

    Raises:
        DataError: If there is no picture at all, or an input is a run folder.
    """
    found: list[PictureInput] = []
    others = 0
    for item in inputs:
        path = fetched(item)
        if (path / RUN).is_file() and (path / CONFIG).is_file():
            raise DataError(
                f"{path} is a run folder, not a folder of pictures. Name one run, and pictures "
                f"after it. Does a pattern such as runs/*-NAME fit several runs?"
            )
        if path.is_dir():
            scan = scan_pictures(path, recursive=True)
            others += scan.others
            refused = {
                link: f"{link} is a link that leads out of {path}. Give "
                f"{'that folder' if link.is_dir() else 'the file'} itself to have it read."
                for link in scan.outside
            }
            found += [
                PictureInput(file, refused.get(file, ""))
                for file in sorted([*scan.pictures, *scan.outside])
            ]
        elif path.exists():
            found.append(PictureInput(path))
        else:
            found.append(PictureInput(path, f"There is no file or folder {path}."))
    if not found:
        where = ", ".join(printable(str(item)) for item in inputs)
        kinds = ", ".join(sorted(PICTURE_SUFFIXES))
        raise DataError(
            f"No picture in {where}, and {plural(others, 'other file')}. From a folder files of "
            f"these suffixes are read: {kinds}. Give a file itself to have it read."
        )
    return found, others


class _Pictures(Sequence[Any]):
    """Pictures that are read when they are asked for; None for each that cannot be read.

    Attributes:
        errors: Why those that were asked for could not be read, by their position.
    """

    def __init__(self, found: Sequence[PictureInput], classifier: Classifier) -> None:
        self._found, self._classifier = found, classifier
        self.errors: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, index: Any) -> Any:
        try:
            picture = self._found[index].read()
        except DataError as err:
            self.errors[index] = str(err)
            return None
        return self._classifier.resize(picture) if picture.nbytes > LARGE else picture
