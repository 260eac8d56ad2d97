"""Leakage: images that stand in more than one of training, validation and test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from tlkit.encoded_pictures import EncodedPictures
from tlkit.errors import DataError
from tlkit.fingerprint import KnownDigests
from tlkit.records import Duplicate, ImageSequence, Int64Array, Split
from tlkit.rows import release_pages
from tlkit.subsets import SplitName, Subset
from tlkit.text import printable
from tlkit.threads import map_in_threads

DuplicatesChoice = Literal["report", "error", "drop"]
ROWS_AT_ONCE = 4096
MAX_NAMED = 5


@dataclass(frozen=True)
class Leakage:
    """Which images stand in more than one place.

    Attributes:
        duplicates: One for each test or validation image that is also a training image.
        repeats: Number of training images that equal an earlier one.
        label_conflicts: Number of images, of any split, that equal a training image with another
            label; of two training images the later one counts.
        validation_in_test: One for each validation image of the data set's own that is also a test
            image. A validation image that was drawn from the training images is none of these: the
            test image that equals it is among the duplicates.
        train_rows: int64 array: the rows to train on that no test or validation image equals.
        validation_rows: int64 array: the rows to validate on that no test image equals.
    """

    duplicates: tuple[Duplicate, ...]
    repeats: int
    label_conflicts: int
    validation_in_test: tuple[Duplicate, ...]
    train_rows: Int64Array
    validation_rows: Int64Array

    def count(self, split: str) -> int:
        """Return how many images of ``"test"`` or ``"validation"`` are also training images."""
        return sum(item.split == split for item in self.duplicates)

    @property
    def counts(self) -> dict[str, int]:
        """The numbers for ``RunInfo.duplicates``."""
        return {
            "test": self.count("test"),
            "validation": self.count("validation"),
            "train": self.repeats,
            "label_conflicts": self.label_conflicts,
            "validation_in_test": len(self.validation_in_test),
        }

    @property
    def pairs(self) -> tuple[Duplicate, ...]:
        """All that was found, for the reporters."""
        return (*self.duplicates, *self.validation_in_test)


def find_leakage(
    train: Subset, validation: Subset, test: Subset, kept: KnownDigests | None = None
) -> Leakage:
    """Compare images by their digests.

    A test image counts as a training image also where tlkit drew that one for validation out of the
    training images. Images that validation shares with the test set because they are one split are
    not compared with it.

    Args:
        train: The images to train on.
        validation: The images to validate on.
        test: The images to test on.
        kept: Digests of earlier runs on the same splits; what is missing is added.
    """
    kept = kept if kept is not None else KnownDigests()
    digests = kept.each
    splits = [train.split, validation.split, test.split]
    if any(id(split) not in digests for split in splits):
        digests |= _digests(splits, kept)
    drawn = validation.split is train.split
    known = np.concatenate([train.rows, validation.rows]) if drawn else train.rows
    copies = _copies(digests[id(train.split)], train.rows)
    all_copies = _copies(digests[id(train.split)], np.sort(known)) if drawn else copies

    on_test = validation.split is test.split
    duplicates = list(_duplicates("test", test, digests, train.split, all_copies))
    if not on_test:
        duplicates += _duplicates("validation", validation, digests, train.split, copies)
    in_test: list[Duplicate] = []
    if not on_test and not drawn:
        test_copies = _copies(digests[id(test.split)], test.rows)
        found = _duplicates("validation", validation, digests, test.split, test_copies)
        in_test = [replace(item, equals="test") for item in found]
    labels = train.split.labels
    repeated = [rows for rows in all_copies.values() if len(rows) > 1]
    conflicts = sum(int((labels[rows[1:]] != labels[rows[0]]).sum()) for rows in repeated)

    tested = _taken(digests[id(test.split)], test.rows)
    validated = _taken(digests[id(validation.split)], validation.rows)
    return Leakage(
        duplicates=tuple(duplicates),
        repeats=sum(len(rows) - 1 for rows in repeated),
        # Validation images drawn from the training images are counted among these already.
        label_conflicts=conflicts
        + sum(item.label_conflict for item in duplicates if item.split == "test" or not drawn),
        validation_in_test=tuple(in_test),
        train_rows=_without(train.rows, digests[id(train.split)], tested | validated),
        validation_rows=validation.rows
        if on_test
        else _without(validation.rows, digests[id(validation.split)], tested),
    )


def count_copies(part: Subset, others: Sequence[Subset], kept: KnownDigests | None = None) -> int:
    """Return how many images of a subset are also images of one of others, byte for byte.

    Args:
        part: The subset.
        others: The others.
        kept: Digests of splits that are known already; what is missing is added.
    """
    splits = [part.split, *(other.split for other in others)]
    kept = kept if kept is not None else KnownDigests()
    digests: Mapping[int, list[bytes]] = kept.each
    one_kind = len({type(split.images) for split in splits}) == 1
    if not one_kind or any(id(split) not in digests for split in splits):
        found = _digests(splits, kept)
        digests = {**digests, **found} if one_kind else found
    taken = set().union(*(_taken(digests[id(other.split)], other.rows) for other in others))
    own = digests[id(part.split)]
    return sum(own[row] in taken for row in part.rows.tolist())


def settle(
    leakage: Leakage,
    subsets: Mapping[SplitName, Subset],
    choice: DuplicatesChoice,
    class_names: Sequence[str],
    *,
    few_shot: bool = False,
) -> tuple[dict[SplitName, Subset], list[str]]:
    """Do what was chosen about images that stand in more than one place.

    Args:
        leakage: What was found.
        subsets: The images to train on, to validate on and to test on.
        choice: ``"report"`` changes nothing, ``"error"`` refuses, ``"drop"`` takes images out of
            training that are also test or validation images, and out of validation those that are
            also test images.
        class_names: The class names in the order of the labels.
        few_shot: Whether a few of the images are drawn afterwards: the notes then say that they
            are about the images before that.

    Returns:
        The images to use, and what the user should know.

    Raises:
        DataError: With ``"error"``, if there is any such image; with ``"drop"``, if nothing is
            left to train or to validate on.
    """
    kept = dict(subsets)
    when = " (counted before few_shot)" if few_shot else ""
    numbers: list[tuple[SplitName, int, str]] = [
        ("test", leakage.count("test"), "training"),
        ("validation", leakage.count("validation"), "training"),
        ("validation", len(leakage.validation_in_test), "test"),
    ]
    found = [
        f"LEAKAGE: {count:,} of {len(subsets[name].rows):,} {name} images are also {other} "
        f"images{when}."
        for name, count, other in numbers
        if count
    ]
    if found and choice == "error":
        raise _refusal(leakage, found)
    notes = [f"{text} The reporter files lists them in leakage.csv." for text in found]
    if notes and choice == "drop":
        kept, note = _without_copies(leakage, subsets)
        notes.append(note)
    elif notes:
        where = "training and validation" if leakage.validation_in_test else "training"
        notes.append(f"[run] duplicates = 'drop' leaves them out of {where}, 'error' refuses them.")
    if leakage.repeats:
        count = leakage.repeats
        notes.append(f"Training images that repeat an earlier one{when}: {count:,}.")
    if leakage.label_conflicts:
        notes.append(_conflicts(leakage, class_names, when))
    return kept, notes


def _refusal(leakage: Leakage, found: Sequence[str]) -> DataError:
    pairs = [
        f"  {_describe(item.split, item.index, item.name)} = "
        f"{_describe(item.equals, item.train_index, item.train_name)}"
        for item in leakage.pairs[:MAX_NAMED]
    ]
    more = len(leakage.pairs) - MAX_NAMED
    pairs += [f"  and {more:,} more"] if more > 0 else []
    return DataError(
        "\n".join([*found, *pairs])
        + "\nTake them out of the data, or set [run] duplicates = 'report', or 'drop' to leave "
        "them out of training, and test images out of validation."
    )


def _without_copies(
    leakage: Leakage, subsets: Mapping[SplitName, Subset]
) -> tuple[dict[SplitName, Subset], str]:
    """Return the subsets without images that stand in another one too, and how many those were.

    Raises:
        DataError: If nothing is left to train or to validate on.
    """
    kept = dict(subsets)
    train, validation = subsets["train"], subsets["validation"]
    kept["train"] = Subset(train.split, leakage.train_rows)
    if validation.split is not subsets["test"].split:
        kept["validation"] = Subset(validation.split, leakage.validation_rows)
    names: tuple[SplitName, ...] = ("train", "validation")
    for name in names:
        if not len(kept[name].rows):
            raise DataError(
                f"With [run] duplicates = 'drop' no {name} image is left: every one of them is "
                f"also in another split. Split the data anew."
            )
    return kept, (
        f"Dropped for that: {len(train.rows) - len(leakage.train_rows):,} training and "
        f"{len(validation.rows) - len(leakage.validation_rows):,} validation images."
    )


def digest_each(images: ImageSequence, kept: KnownDigests) -> list[bytes]:
    """Return one digest for each image: equal ones are equal in shape and in every pixel.

    A lazy sequence with a method ``digests()`` answers itself, such as by its encoded bytes.

    Args:
        images: The images.
        kept: Digests that are known already; those of encoded pictures are added.
    """
    if isinstance(images, np.ndarray):
        return [digest for chunk in _digest_array(images) for digest in chunk]
    if isinstance(images, EncodedPictures):
        return kept.of_each(images)
    if hasattr(images, "digests"):
        return list(images.digests())
    return _digest_pixels(images)


def _digests(splits: Sequence[Split], kept: KnownDigests) -> Mapping[int, list[bytes]]:
    distinct = {id(split): split.images for split in splits}
    # Pixels cannot be compared with encoded bytes, nor one kind of bytes with another.
    same_kind = len({type(images) for images in distinct.values()}) == 1
    if same_kind:
        return {key: digest_each(images, kept) for key, images in distinct.items()}
    return {
        key: digest_each(images, kept) if isinstance(images, np.ndarray) else _digest_pixels(images)
        for key, images in distinct.items()
    }


def _digest_array(images: Any) -> Iterator[list[bytes]]:
    shape = repr(images.shape[1:]).encode()
    for first in range(0, len(images), ROWS_AT_ONCE):
        chunk = np.ascontiguousarray(images[first : first + ROWS_AT_ONCE])
        # One copy-free view of bytes for each row: slicing the array would cost more than hashing.
        view, size = chunk.reshape(-1).view(np.uint8).data, chunk[0].nbytes
        yield [
            hashlib.sha256(view[start : start + size]).digest() + shape
            for start in range(0, len(view), size)
        ]
        release_pages(images)


def _digest_pixels(images: ImageSequence) -> list[bytes]:
    def digest(index: int) -> bytes:
        image = np.ascontiguousarray(images[index])
        return hashlib.sha256(image.data).digest() + repr(image.shape).encode()

    return map_in_threads(digest, len(images))


def _copies(digests: Sequence[bytes], rows: Int64Array) -> dict[bytes, list[int]]:
    found: dict[bytes, list[int]] = {}
    for row in rows.tolist():
        found.setdefault(digests[row], []).append(row)
    return found


def _duplicates(
    name: str,
    part: Subset,
    digests: Mapping[int, list[bytes]],
    train: Split,
    copies: Mapping[bytes, list[int]],
) -> Iterator[Duplicate]:
    own = digests[id(part.split)]
    for row in part.rows.tolist():
        equal = copies.get(own[row])
        if equal is None:
            continue
        label = int(part.split.labels[row])
        other = next((item for item in equal if train.labels[item] != label), equal[0])
        yield Duplicate(
            split=name,
            index=row,
            name=part.split.names[row] if part.split.names else "",
            label=label,
            train_index=other,
            train_name=train.names[other] if train.names else "",
            train_label=int(train.labels[other]),
            copies=len(equal),
        )


def _taken(digests: Sequence[bytes], rows: Int64Array) -> set[bytes]:
    return {digests[row] for row in rows.tolist()}


def _without(rows: Int64Array, digests: Sequence[bytes], taken: set[bytes]) -> Int64Array:
    kept = [row for row in rows.tolist() if digests[row] not in taken]
    return np.array(kept, dtype=np.int64)


def _conflicts(leakage: Leakage, class_names: Sequence[str], when: str) -> str:
    count = leakage.label_conflicts
    text = f"LABEL CONFLICTS ({count:,}): images that equal a training image of another class{when}"
    item = next((item for item in leakage.duplicates if item.label_conflict), None)
    if item is None:
        return f"{text}."
    return (
        f"{text}, such as {_describe(item.split, item.index, item.name)} "
        f"({printable(class_names[item.label], 40)}) and "
        f"{_describe('train', item.train_index, item.train_name)} "
        f"({printable(class_names[item.train_label], 40)})."
    )


def _describe(split: str, index: int, name: str) -> str:
    return printable(name, 80) if name else f"{split} image {index:,}"
