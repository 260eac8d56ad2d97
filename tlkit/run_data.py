"""The data of a run: loaded, checked, split, and joined with that of the run before it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from tlkit import run_folder
from tlkit.dataset import DatasetSource, load_data
from tlkit.errors import DataError, RunFolderError
from tlkit.few_shot import take_few
from tlkit.fingerprint import KnownDigests, digest_images, digest_labels, digest_splits
from tlkit.leakage import DuplicatesChoice, Leakage, find_leakage, settle
from tlkit.picture_check import summarize_pictures
from tlkit.plugin_calls import describe_plugin
from tlkit.records import ImageData, ImageSequence, Int64Array, RunResult, Split, UInt8Array
from tlkit.registry import Registry
from tlkit.rows import take_rows
from tlkit.splitting import draw_rows
from tlkit.subsets import SplitName, Subset


@dataclass(frozen=True)
class DataSettings:
    """How a run takes its data; see the arguments of ``Trainer``."""

    seed: int
    validation: float | Literal["test"]
    duplicates: DuplicatesChoice
    few_shot: int


@dataclass(frozen=True)
class RunData:
    """The data of a run, split and checked.

    Attributes:
        data: What the data set loaded, with the images that are replayed.
        subsets: The images to train on, to validate on and to test on.
        leakage: Images that stand in more than one place.
        labels_digest: The SHA-256 of class names and labels.
        on_test: Whether the validation images are the test images.
        notes: What the user should know.
    """

    data: ImageData
    subsets: Mapping[SplitName, Subset]
    leakage: Leakage
    labels_digest: str
    on_test: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Replay:
    """Images of an earlier run that stand in for classes which new data lacks.

    Attributes:
        before: The data of that run.
        classes: The names of the classes.
    """

    before: RunData
    classes: tuple[str, ...]


class JoinedImages:
    """Rows of several sequences of images as one sequence.

    Attributes:
        parts: Each sequence with the int64 array of its rows.
    """

    def __init__(self, parts: Sequence[tuple[ImageSequence, Int64Array]]) -> None:
        """Keep the parts."""
        self.parts = tuple(parts)
        self._ends = np.cumsum([len(rows) for _, rows in self.parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = int(index) + (len(self) if index < 0 else 0)
        if not 0 <= place < len(self):
            raise IndexError(index)
        number = int(np.searchsorted(self._ends, place, side="right"))
        images, rows = self.parts[number]
        return images[int(rows[place - (self._ends[number] - len(rows))])]

    def __iter__(self) -> Iterator[UInt8Array]:
        return (self[place] for place in range(len(self)))

    def fingerprint(self) -> str:
        """Return the SHA-256 of the sequences and of the rows that are taken."""
        digest = hashlib.sha256()
        for images, rows in self.parts:
            digest.update(digest_images(images).encode())
            digest.update(np.ascontiguousarray(rows, dtype="<i8").tobytes())
        return digest.hexdigest()


def load_run_data(
    source: DatasetSource,
    settings: DataSettings,
    digests: KnownDigests | None = None,
    replay_for: Callable[[ImageData], Replay | None] | None = None,
) -> RunData:
    """Load a data set, check it and split it.

    Args:
        source: The data set.
        settings: How it is taken.
        digests: Those of the images, where they are known; what is missing is added.
        replay_for: Says which images of an earlier run to join to what the data set gave.

    Raises:
        DataError: If the data is missing, broken or too small.
        PluginError: If the data set's plugin fails.
    """
    data = load_data(source, settings.seed)
    replay = None if replay_for is None else replay_for(data)
    check_data(data, source, least_classes=2 if replay is None else 1)
    if replay is None:
        return prepare_data(data, settings, digests)
    before = replay.before
    count = sum(len(_rows_of(part, before, replay.classes)) for part in before.subsets.values())
    note = (
        f"Replayed: {count:,} images of {len(replay.classes)} classes come from the data of the "
        f"run that this one starts from."
    )
    # The digests are of the images that the data set gives, and these are other ones.
    found = prepare_data(_join(data, settings, replay), settings)
    return replace(found, notes=(note, *found.notes))


def prepare_data(
    data: ImageData, settings: DataSettings, digests: KnownDigests | None = None
) -> RunData:
    """Split the data that a data set gave.

    Args:
        data: What it gave.
        settings: How it is taken.
        digests: Those of the images, where they are known; what is missing is added.

    Raises:
        DataError: If there are too few images.
    """
    # Now, as a workflow may change labels.
    labels_digest = digest_labels(data)
    subsets, notes = _split(data, settings)
    on_test = subsets["validation"].split is subsets["test"].split
    leakage = find_leakage(subsets["train"], subsets["validation"], subsets["test"], digests)
    subsets, more = settle(
        leakage, subsets, settings.duplicates, data.class_names, few_shot=settings.few_shot > 0
    )
    notes += [*summarize_pictures(data.pictures), *more]
    if settings.few_shot:
        subsets, more = take_few(subsets, settings.few_shot, settings.seed, data.class_names)
        notes += more
    return RunData(data, subsets, leakage, labels_digest, on_test, tuple(notes))


def data_of_run(
    run: RunResult,
    registry: Registry,
    known: ImageData | None = None,
    digests: KnownDigests | None = None,
) -> RunData:
    """Load the data of a finished run again, as it was.

    Args:
        run: What ``load_run()`` returned.
        registry: Where its data set is looked up.
        known: Data that is in memory already, and may be the same.
        digests: Those of its images; what is missing is added.

    Raises:
        DataError: If it is not what the run was made from.
        TlkitError: If it cannot be loaded.
    """
    table = run.info.config.get("run", {})
    settings = DataSettings(
        seed=table.get("seed", 0),
        validation=table.get("validation", 0.1),
        duplicates=table.get("duplicates", "report"),
        few_shot=table.get("few_shot", 0),
    )
    if known is not None and _is_data_of(known, run, digests or KnownDigests()):
        return prepare_data(known, settings, digests)
    options = dict(run.info.config.get("dataset", {}))
    where = f"[dataset] of {run.folder}"
    made = registry.create("dataset", str(options.pop("name", "")), where, **options)
    dataset = cast(DatasetSource, made)
    replay = None
    lineage = run.info.lineage
    if lineage is not None and lineage.replayed_classes:
        before = run_folder.load_run(Path(lineage.parent.folder))
        if before.info.began != lineage.parent.began:
            raise RunFolderError(f"{before.folder} holds another run than {run.folder} began from.")
        replay = Replay(data_of_run(before, registry), lineage.replayed_classes)
    found = load_run_data(dataset, settings, replay_for=lambda data: replay)
    if not _is_data_of(found.data, run, KnownDigests()):
        raise DataError(
            f"The data set '{dataset.name}' of {run.folder} has changed since that run: its "
            f"fingerprints differ."
        )
    return found


def _is_data_of(data: ImageData, run: RunResult, digests: KnownDigests) -> bool:
    recorded = run.fingerprints
    # The labels are quick to compare; images are read for their digest.
    if recorded.get("labels") != digest_labels(data):
        return False
    return all(recorded.get(name) == value for name, value in digest_splits(data, digests).items())


def _join(data: ImageData, settings: DataSettings, replay: Replay) -> ImageData:
    """Return new data with images of an earlier run; the classes of that run come first.

    What that run validated on is validated on again, and what it trained on is trained on.
    """
    before, names = replay.before, list(replay.before.data.class_names)
    names += [name for name in data.class_names if name not in names]
    labels = [
        np.array([names.index(name) for name in item.class_names]) for item in (data, before.data)
    ]
    new, _ = _split(data, settings)
    old = dict(before.subsets)
    if before.on_test and settings.validation != "test":
        kept = _rows_of(old["train"], before, replay.classes)
        split = old["train"].split
        rows = _stratified(split.labels[kept], settings.validation, settings.seed)
        old |= {name: Subset(split, kept[part]) for name, part in zip(_LEARNT, rows, strict=True)}

    def join(name: SplitName) -> Split:
        kept = _rows_of(old[name], before, replay.classes)
        return _join_splits(new[name], Subset(old[name].split, kept), labels)

    on_test = new["validation"].split is new["test"].split
    return replace(
        data,
        train=join("train"),
        test=join("test"),
        validation=None if on_test else join("validation"),
        class_names=tuple(names),
    )


_LEARNT: tuple[SplitName, SplitName] = ("train", "validation")


def _rows_of(part: Subset, data: RunData, classes: Sequence[str]) -> Int64Array:
    """Return the rows of a subset whose class is one of some."""
    wanted = [label for label, name in enumerate(data.data.class_names) if name in classes]
    return part.rows[np.isin(part.split.labels[part.rows], wanted)]


def _join_splits(new: Subset, old: Subset, labels: Sequence[Any]) -> Split:
    parts = (new, old)
    arrays = [part.split.images for part in parts]
    images: ImageSequence
    if (
        all(isinstance(item, np.ndarray) for item in arrays)
        and len({item.shape[1:] for item in cast(list[Any], arrays)}) == 1
    ):
        images = np.concatenate([take_rows(part.split.images, part.rows) for part in parts])
    else:
        images = JoinedImages([(part.split.images, part.rows) for part in parts])
    named = all(part.split.names for part in parts)
    return Split(
        images,
        np.concatenate(
            [names[part.split.labels[part.rows]] for part, names in zip(parts, labels, strict=True)]
        ).astype(np.int64),
        tuple(part.split.names[row] for part in parts for row in part.rows.tolist())
        if named
        else (),
    )


def _split(data: ImageData, settings: DataSettings) -> tuple[dict[SplitName, Subset], list[str]]:
    everything = np.arange(len(data.train))
    test = Subset(data.test, np.arange(len(data.test)))
    if data.validation is not None:
        rows = np.arange(len(data.validation))
        validation = Subset(data.validation, rows)
        return {
            "train": Subset(data.train, everything),
            "validation": validation,
            "test": test,
        }, []
    if settings.validation == "test":
        note = "Validated on the test set, as the original exercise does: choose nothing by it."
        return {
            "train": Subset(data.train, everything),
            "validation": test,
            "test": test,
        }, [note]
    train_rows, validation_rows = _stratified(data.train.labels, settings.validation, settings.seed)
    return {
        "train": Subset(data.train, train_rows),
        "validation": Subset(data.train, validation_rows),
        "test": test,
    }, []


def _stratified(labels: Any, share: float, seed: int) -> tuple[Any, Any]:
    counts = np.bincount(labels)
    stratify = labels if counts[counts > 0].min() > 1 else None
    try:
        return draw_rows(labels, share, seed, stratify)
    except ValueError as err:
        raise DataError(
            f"[run] validation = {share:g} cannot be had from these training images: {err}, or let "
            f"the dataset bring validation images."
        ) from err


def check_data(data: ImageData, source: DatasetSource, least_classes: int) -> None:
    """Check what a data set gave.

    Args:
        data: What it gave.
        source: The data set, for errors.
        least_classes: How many classes there must be.

    Raises:
        DataError: If images, labels or class names are not as ``ImageData`` says.
    """
    problems = []
    num_classes = len(data.class_names)
    if num_classes < least_classes:
        problems.append(f"{num_classes} classes; at least {least_classes} are needed")
    splits = {"train": data.train, "test": data.test, "validation": data.validation}
    for name, split in splits.items():
        if split is None:
            continue
        problems += [f"{name}: {text}" for text in _split_problems(split, num_classes)]
    if problems:
        raise DataError(f"{describe_plugin(source)} is not usable: {'; '.join(problems)}.")


def _split_problems(split: Split, num_classes: int) -> list[str]:
    problems = []
    images, labels = split.images, np.asarray(split.labels)
    if len(images) == 0 or len(images) != len(labels):
        return [f"{len(images)} images and {len(labels)} labels; equal and above 0 are needed"]
    if isinstance(images, np.ndarray) and (
        images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3
    ):
        problems.append(
            f"images are {images.dtype} of shape {images.shape}; needed: uint8 (N, height, "
            f"width, 3), values 0 to 255"
        )
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        problems.append(f"labels are {labels.dtype} of shape {labels.shape}; needed: int64 (N,)")
    elif labels.min() < 0 or labels.max() >= num_classes:
        problems.append(
            f"labels go from {labels.min()} to {labels.max()}; allowed: 0 to {num_classes - 1}"
        )
    return problems
