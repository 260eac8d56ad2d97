"""Encoded pictures with labels, checked and split: what datasets of pictures have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tlkit.encoded_pictures import EncodedPictures
from tlkit.errors import DataError
from tlkit.images import Source
from tlkit.picture_check import SKIP_HINT, Broken, check_pictures
from tlkit.records import ImageData, PictureNote, Split
from tlkit.splitting import split_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

PARTS = ("train", "validation", "test")


def picture_data(
    sources: Sequence[Source],
    names: Sequence[str],
    labels: ArrayLike,
    parts: Sequence[str],
    class_names: Sequence[str],
    *,
    where: str,
    seed: int,
    broken: Broken = "error",
    test_fraction: float = 0.2,
    notes: Sequence[str] = (),
    left_out: Sequence[PictureNote] = (),
) -> ImageData:
    """Check pictures and make a dataset of them; they are decoded when they are needed.

    Args:
        sources: For each of N pictures the path of its file, be it in an object store (see
            ``open_place()``), or the file's content. A lazy
            sequence is asked from several threads at once.
        names: What reports call them, N.
        labels: Class numbers (N,), 0 to number of classes - 1.
        parts: ``"train"``, ``"validation"`` or ``"test"``, N. Where none is ``"test"``, a share of
            the training pictures is, drawn evenly from the classes.
        class_names: The class names in the order of the labels.
        where: What holds the pictures; said in errors.
        seed: Seed of the draw.
        broken: ``"error"`` to refuse pictures that cannot be read, ``"skip"`` to leave them out,
            for which every picture is decoded once.
        test_fraction: That share, above 0 and below 1.
        notes: What the user should know.
        left_out: Pictures that were left out already.

    Raises:
        DataError: If pictures cannot be read, or a split or a class has none that can.
    """
    import numpy as np

    check = check_pictures(sources, names, broken)
    pictures = EncodedPictures(sources, names, SKIP_HINT if broken == "error" else "")
    rows = np.array(check.readable, dtype=np.int64)
    numbers = np.asarray(labels, dtype=np.int64)
    of_row = np.array(parts, dtype=object)[rows]
    rows_of = {part: rows[of_row == part] for part in PARTS}
    for part in ("train", *sorted(set(parts))):
        if not len(rows_of[part]):
            raise DataError(f"{where}: no picture of the {part} split can be read.")
    counts = np.bincount(numbers[rows_of["train"]], minlength=len(class_names))
    if counts.min(initial=1) == 0:
        empty = class_names[int(counts.argmin())]
        raise DataError(f"{where}: the class '{empty}' has no training picture that can be read.")
    if not len(rows_of["test"]):
        every = rows_of["train"]
        train, test = split_rows(numbers[every], test_fraction, seed, where)
        rows_of["train"], rows_of["test"] = every[train], every[test]

    def split(chosen: NDArray[np.int64]) -> Split:
        row_numbers = chosen.tolist()
        return Split(
            pictures.take(row_numbers), numbers[chosen], tuple(names[row] for row in row_numbers)
        )

    return ImageData(
        train=split(rows_of["train"]),
        test=split(rows_of["test"]),
        class_names=tuple(class_names),
        validation=split(rows_of["validation"]) if len(rows_of["validation"]) else None,
        notes=tuple(notes),
        pictures=(*left_out, *check.notes),
    )
