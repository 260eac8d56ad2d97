"""PictureTable: picture files with labels, checked and split; what `folder` and `csv` share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tlkit import (
    SKIP_HINT,
    DataError,
    ImageData,
    PictureFiles,
    PictureNote,
    Split,
    check_pictures,
)
from tlkit.builtin.datasets.splitting import split_rows


@dataclass
class PictureTable:
    """Picture files, one row each.

    Attributes:
        where: The file or folder that lists them, for errors.
        class_names: The class names in the order of the labels.
        paths: The files.
        names: What they are called in reports.
        labels: Their class numbers.
        parts: ``"train"``, ``"validation"`` or ``"test"`` for each.
        notes: What the user should know.
        left_out: Pictures that did not get into the table.
    """

    where: str
    class_names: tuple[str, ...] = ()
    paths: list[Path] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: list[PictureNote] = field(default_factory=list)

    def add(self, path: Path, name: str, label: int, part: str) -> None:
        """Add one picture."""
        self.paths.append(path)
        self.names.append(name)
        self.labels.append(label)
        self.parts.append(part)

    def load(self, broken: Literal["error", "skip"], test_fraction: float, seed: int) -> ImageData:
        """Check the pictures and split them.

        Args:
            broken: What to do about pictures that cannot be read.
            test_fraction: Share of the training pictures that becomes the test split where no row
                is in it, above 0 and below 1.
            seed: Seed of that split.

        Raises:
            DataError: If pictures cannot be read, or a split or a class has none.
        """
        import numpy as np

        check = check_pictures(self.paths, self.names, broken)
        rows = np.array(check.readable, dtype=np.int64)
        labels = np.array(self.labels, dtype=np.int64)
        parts = np.array(self.parts, dtype=object)
        of_part = {part: rows[parts[rows] == part] for part in ("train", "validation", "test")}
        for part in set(self.parts):
            if not len(of_part[part]):
                raise DataError(f"{self.where}: no picture of the {part} split can be read.")
        counts = np.bincount(labels[of_part["train"]], minlength=len(self.class_names))
        if counts.min(initial=1) == 0:
            empty = self.class_names[int(counts.argmin())]
            raise DataError(
                f"{self.where}: no training picture of the class '{empty}' can be read. Mend its "
                f"files, or take the class out."
            )
        if not len(of_part["test"]):
            every = of_part["train"]
            train, test = split_rows(labels[every], test_fraction, seed, self.where)
            of_part["train"], of_part["test"] = every[train], every[test]

        def split(chosen: Sequence[int]) -> Split:
            return Split(
                PictureFiles([self.paths[row] for row in chosen], SKIP_HINT),
                labels[chosen],
                tuple(self.names[row] for row in chosen),
            )

        return ImageData(
            train=split(of_part["train"]),
            test=split(of_part["test"]),
            class_names=self.class_names,
            validation=split(of_part["validation"]) if len(of_part["validation"]) else None,
            notes=tuple(self.notes),
            pictures=(*self.left_out, *check.notes),
        )
