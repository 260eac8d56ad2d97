"""The folder dataset: your own pictures, one sub-folder for each class."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, ClassVar, Literal

from tlkit import (
    PICTURE_SUFFIXES,
    SKIP_HINT,
    DataError,
    DatasetSource,
    ImageData,
    PictureNote,
    StoredPath,
    did_you_mean,
    leads_out,
    open_place,
    picture_data,
    printable,
    scan_pictures,
)
from tlkit.wording import plural

MAX_NAMED = 10
PARTS = {
    "train": ("train",),
    "test": ("test",),
    "validation": ("validation", "val", "valid"),
}


class Folder(DatasetSource):
    """Your own pictures: train/CLASS/* and test/CLASS/*, or CLASS/* which tlkit splits."""

    name: ClassVar[str] = "folder"

    def __init__(
        self,
        path: str,
        test_fraction: float = 0.2,
        broken: Literal["error", "skip"] = "error",
        follow_links: bool = False,
    ) -> None:
        """Choose the folder.

        Args:
            path: A folder with train/CLASS/*.png|jpg|webp|... and test/CLASS/*, and validation/
                if there is one; or a folder with CLASS/*. Or the URL of such a folder, such as
                s3://bucket/pictures, whose pictures are read where they lie.
            test_fraction: Share of the pictures in the test split where there is no test folder,
                above 0 and below 1.
            broken: "error" to end the run at pictures that cannot be read, or "skip" to leave them
                out, for which every picture is decoded once at the start.
            follow_links: Whether symbolic links may lead out of the folder. Without it such links
                are broken pictures.
        """
        self.path = path
        self.follow_links = follow_links
        self.test_fraction = test_fraction
        self.broken: Literal["error", "skip"] = broken

    def load(self, seed: int) -> ImageData:
        """List the pictures and look at their headers; they are read when they are needed.

        Raises:
            DataError: If there is no such folder, a class is missing or empty, or pictures cannot
                be read.
        """
        root = open_place(self.path)
        if not root.is_dir():
            state = "is a file" if root.is_file() else "is not there"
            signs = any(ord(sign) < ord(" ") for sign in self.path)
            hint = " Backslashes in a path want single quotes." if signs else ""
            raise DataError(
                f"[dataset] path: {printable(str(root.resolve()))} {state}.{hint} Needed: a folder "
                f"with train/CLASS/ and test/CLASS/, or with CLASS/ alone."
            )
        found = _Found(root, self.follow_links)
        if not (root / "train").is_dir():
            found.scan(root, "train")
        else:
            for part, names in PARTS.items():
                folder = next((root / name for name in names if (root / name).is_dir()), None)
                if folder is not None:
                    found.scan(folder, part)
            if "test" not in found.parts:
                found.notes.append(
                    f"No folder test/: {self.test_fraction:.0%} of train/ is the test split."
                )
        refused = found.outside and self.broken == "error"
        try:
            data = self._data(root, found, seed)
        except DataError as err:
            if not refused:
                raise
            raise DataError(f"{found.refusal(found.outside)}\n{err}") from err
        if refused:
            raise DataError(found.refusal(found.outside, SKIP_HINT))
        return data

    def _data(self, root: Path | StoredPath, found: _Found, seed: int) -> ImageData:
        return picture_data(
            found.paths,
            [_below(path, root) for path in found.paths],
            found.labels,
            found.parts,
            found.class_names,
            where=str(root),
            seed=seed,
            broken=self.broken,
            test_fraction=self.test_fraction,
            notes=found.notes,
            left_out=[
                PictureNote(
                    _below(path, root),
                    ("broken",),
                    ("it is a link that leads out of the folder",),
                )
                for path in found.outside
            ],
        )


def _below(path: Path | StoredPath, root: Path | StoredPath) -> str:
    relative: PurePath = path.relative_to(root)  # type: ignore[arg-type]  # both are of one kind
    return relative.as_posix()


@dataclass
class _Found:
    """The pictures of a folder, and the split and the class that they stand under."""

    root: Path | StoredPath
    follow_links: bool
    class_names: tuple[str, ...] = ()
    paths: list[Path | StoredPath] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    outside: list[Path] = field(default_factory=list)

    def scan(self, folder: Path | StoredPath, part: str) -> None:
        """Add the pictures of one split; the first one decides the classes."""
        folders: list[Any] = sorted(
            p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")
        )
        real = self.root.resolve()
        linked = [path for path in (folder, *folders) if leads_out(path, real)]
        if linked and not self.follow_links:
            raise DataError(self.refusal(linked))
        found = tuple(item.name for item in folders)
        if not self.class_names:
            if len(found) < 2:
                raise DataError(
                    f"{folder} has {len(found)} class folder{'s' * (len(found) != 1)}; at least 2 "
                    f"are needed, one for each class, with its pictures inside."
                )
            self.class_names = found
        strange = [name for name in found if name not in self.class_names]
        if strange:
            raise DataError(
                f"{folder} has a class '{strange[0]}' that train/ does not have."
                f"{did_you_mean(strange[0], self.class_names)} Classes of train/: "
                f"{', '.join(self.class_names)}."
            )
        ignored = 0
        for item in folders:
            scan = scan_pictures(
                item, recursive=True, inside=self.root, follow_links=self.follow_links
            )
            pictures = scan.pictures
            ignored += scan.others
            self.outside += scan.outside
            if not pictures and not scan.outside:
                kinds = ", ".join(sorted(suffix[1:] for suffix in PICTURE_SUFFIXES))
                raise DataError(f"The class folder {item} has no picture. Read are: {kinds}.")
            label = self.class_names.index(item.name)
            self.paths += pictures
            self.labels += [label] * len(pictures)
            self.parts += [part] * len(pictures)
        if ignored:
            verb = "is no picture and was" if ignored == 1 else "are no pictures and were"
            self.notes.append(f"{plural(ignored, 'file')} in {folder} {verb} left out.")
        absent = [name for name in self.class_names if name not in found]
        if absent:
            self.notes.append(f"{folder} has no picture of: {', '.join(absent)}.")

    def refusal(self, links: list[Path], hint: str = "") -> str:
        """Say which links lead out of the folder, and what to do."""
        lines = [f"  {printable(_below(path, self.root), 120)}" for path in links[:MAX_NAMED]]
        more = len(links) - MAX_NAMED
        lines += [f"  and {more:,} more"] if more > 0 else []
        return "\n".join(
            [
                f"{len(links):,} {'link leads' if len(links) == 1 else 'links lead'} out of "
                f"{self.root}:",
                *lines,
                f"Set [dataset] follow_links = true if you know where they lead. {hint}".rstrip(),
            ]
        )
