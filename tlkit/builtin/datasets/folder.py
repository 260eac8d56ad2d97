"""The folder dataset: your own pictures, one sub-folder for each class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tlkit import (
    PICTURE_SUFFIXES,
    DataError,
    DatasetSource,
    ImageData,
    PictureFiles,
    Split,
    did_you_mean,
    scan_pictures,
)
from tlkit.builtin.datasets.splitting import split_rows

if TYPE_CHECKING:
    import numpy as np

VALIDATION_NAMES = ("validation", "val", "valid")


class Folder(DatasetSource):
    """Your own pictures: train/CLASS/* and test/CLASS/*, or CLASS/* which tlkit splits."""

    name: ClassVar[str] = "folder"

    def __init__(self, path: str, test_fraction: float = 0.2) -> None:
        """Choose the folder.

        Args:
            path: A folder with train/CLASS/*.png|jpg|webp|... and test/CLASS/*, and validation/
                if there is one; or a folder with CLASS/*.
            test_fraction: Share of the pictures in the test split where there is no test folder,
                above 0 and below 1.
        """
        self.path = path
        self.test_fraction = test_fraction

    def load(self, seed: int) -> ImageData:
        """List the pictures; they are read when they are needed."""
        root = Path(self.path).expanduser()
        if not root.is_dir():
            raise DataError(
                f"[dataset] path: there is no folder {root}. Needed: a folder with train/CLASS/ "
                f"and test/CLASS/, or with CLASS/ alone."
            )
        if (root / "train").is_dir():
            return self._load_splits(root, seed)
        paths, labels, class_names, notes = _scan(root, None)
        return self._split(root, paths, labels, class_names, seed, notes)

    def _load_splits(self, root: Path, seed: int) -> ImageData:
        paths, labels, class_names, notes = _scan(root / "train", None)
        if not (root / "test").is_dir():
            notes.append(f"No folder test/: {self.test_fraction:.0%} of train/ is the test split.")
            return self._split(root / "train", paths, labels, class_names, seed, notes)
        train = _make_split(root, paths, labels)
        splits = {}
        for part in ("test", *VALIDATION_NAMES):
            if (root / part).is_dir():
                paths, labels, _, more = _scan(root / part, class_names)
                splits[part] = _make_split(root, paths, labels)
                notes += more
        validation = next((splits[name] for name in VALIDATION_NAMES if name in splits), None)
        return ImageData(train, splits["test"], class_names, validation, tuple(notes))

    def _split(
        self,
        root: Path,
        paths: list[Path],
        labels: np.ndarray,
        class_names: tuple[str, ...],
        seed: int,
        notes: list[str],
    ) -> ImageData:
        train, test = split_rows(labels, self.test_fraction, seed, str(root))
        parts = [
            _make_split(root, [paths[row] for row in rows], labels[rows]) for rows in (train, test)
        ]
        return ImageData(parts[0], parts[1], class_names, None, tuple(notes))


def _scan(
    root: Path, class_names: tuple[str, ...] | None
) -> tuple[list[Path], np.ndarray, tuple[str, ...], list[str]]:
    """Return the pictures of a split, their labels, the class names, and notes."""
    import numpy as np

    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = tuple(folder.name for folder in folders)
    if class_names is None:
        if len(found) < 2:
            raise DataError(
                f"{root} has {len(found)} class folders; at least 2 are needed, one for each "
                f"class, with its pictures inside."
            )
        class_names = found
    strange = [name for name in found if name not in class_names]
    if strange:
        raise DataError(
            f"{root} has a class '{strange[0]}' that train/ does not have."
            f"{did_you_mean(strange[0], class_names)} Classes of train/: {', '.join(class_names)}."
        )
    paths: list[Path] = []
    labels: list[int] = []
    ignored = 0
    for folder in folders:
        pictures, others = scan_pictures(folder, recursive=True)
        ignored += others
        if not pictures:
            kinds = ", ".join(sorted(suffix[1:] for suffix in PICTURE_SUFFIXES))
            raise DataError(f"The class folder {folder} has no picture. Read are: {kinds}.")
        paths += pictures
        labels += [class_names.index(folder.name)] * len(pictures)
    notes = [f"{ignored} files in {root} are no pictures and were left out."] if ignored else []
    absent = [name for name in class_names if name not in found]
    if absent:
        notes.append(f"{root} has no picture of: {', '.join(absent)}.")
    return paths, np.array(labels, dtype=np.int64), class_names, notes


def _make_split(root: Path, paths: list[Path], labels: np.ndarray) -> Split:
    names = tuple(path.relative_to(root).as_posix() for path in paths)
    return Split(PictureFiles(paths), labels, names)
