"""The folder dataset: your own pictures, one sub-folder for each class."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from tlkit import (
    PICTURE_SUFFIXES,
    DataError,
    DatasetSource,
    ImageData,
    did_you_mean,
    scan_pictures,
)
from tlkit.builtin.datasets.picture_table import PictureTable

PARTS = {
    "train": ("train",),
    "test": ("test",),
    "validation": ("validation", "val", "valid"),
}


class Folder(DatasetSource):
    """Your own pictures: train/CLASS/* and test/CLASS/*, or CLASS/* which tlkit splits."""

    name: ClassVar[str] = "folder"

    def __init__(
        self, path: str, test_fraction: float = 0.2, broken: Literal["error", "skip"] = "error"
    ) -> None:
        """Choose the folder.

        Args:
            path: A folder with train/CLASS/*.png|jpg|webp|... and test/CLASS/*, and validation/
                if there is one; or a folder with CLASS/*.
            test_fraction: Share of the pictures in the test split where there is no test folder,
                above 0 and below 1.
            broken: "error" to end the run at pictures that cannot be read, or "skip" to leave them
                out, for which every picture is decoded once at the start.
        """
        self.path = path
        self.test_fraction = test_fraction
        self.broken: Literal["error", "skip"] = broken

    def load(self, seed: int) -> ImageData:
        """List the pictures and look at their headers; they are read when they are needed.

        Raises:
            DataError: If there is no such folder, a class is missing or empty, or pictures cannot
                be read.
        """
        root = Path(self.path).expanduser()
        if not root.is_dir():
            raise DataError(
                f"[dataset] path: there is no folder {root}. Needed: a folder with train/CLASS/ "
                f"and test/CLASS/, or with CLASS/ alone."
            )
        table = PictureTable(str(root))
        if not (root / "train").is_dir():
            _scan(table, root, root, "train")
        else:
            for part, names in PARTS.items():
                folder = next((root / name for name in names if (root / name).is_dir()), None)
                if folder is not None:
                    _scan(table, root, folder, part)
            if "test" not in table.parts:
                table.notes.append(
                    f"No folder test/: {self.test_fraction:.0%} of train/ is the test split."
                )
        return table.load(self.broken, self.test_fraction, seed)


def _scan(table: PictureTable, root: Path, folder: Path, part: str) -> None:
    """Add the pictures of one part to the table; the first part decides the classes."""
    folders = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = tuple(item.name for item in folders)
    if not table.class_names:
        if len(found) < 2:
            raise DataError(
                f"{folder} has {len(found)} class folders; at least 2 are needed, one for each "
                f"class, with its pictures inside."
            )
        table.class_names = found
    strange = [name for name in found if name not in table.class_names]
    if strange:
        raise DataError(
            f"{folder} has a class '{strange[0]}' that train/ does not have."
            f"{did_you_mean(strange[0], table.class_names)} Classes of train/: "
            f"{', '.join(table.class_names)}."
        )
    ignored = 0
    for item in folders:
        pictures, others = scan_pictures(item, recursive=True)
        ignored += others
        if not pictures:
            kinds = ", ".join(sorted(suffix[1:] for suffix in PICTURE_SUFFIXES))
            raise DataError(f"The class folder {item} has no picture. Read are: {kinds}.")
        label = table.class_names.index(item.name)
        for path in pictures:
            table.add(path, path.relative_to(root).as_posix(), label, part)
    if ignored:
        table.notes.append(f"{ignored} files in {folder} are no pictures and were left out.")
    absent = [name for name in table.class_names if name not in found]
    if absent:
        table.notes.append(f"{folder} has no picture of: {', '.join(absent)}.")
