"""Folders of pictures: which files in them are pictures, and which links lead out of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkit.stored_path import StoredPath

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


@dataclass(frozen=True)
class FolderScan:
    """What is in a folder.

    Attributes:
        pictures: The picture files by their suffix, sorted: ``Path``, or ``StoredPath`` of a folder
            in an object store.
        outside: Symbolic links that lead out of the folder, sorted; none of them was followed.
        others: The number of other files that are not hidden.
    """

    pictures: list[Any]
    outside: list[Path]
    others: int


def list_pictures(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Return the picture files of a folder by their suffix, sorted; hidden files are left out.

    Symbolic links that lead out of the folder are left out too.
    """
    return scan_pictures(folder, recursive=recursive).pictures


def scan_pictures(
    folder: Path | StoredPath,
    *,
    recursive: bool = False,
    inside: Path | StoredPath | None = None,
    follow_links: bool = False,
) -> FolderScan:
    """Return what is in a folder; hidden files and folders are left out.

    Args:
        folder: The folder; it may be a link itself.
        recursive: Whether to look into its sub-folders.
        inside: The folder that links must stay in; by default ``folder``.
        follow_links: Whether links may lead anywhere, and links to folders are looked into.
    """
    if isinstance(folder, StoredPath):
        return _scan_stored(folder, recursive)
    assert not isinstance(inside, StoredPath)
    root = os.path.realpath(folder if inside is None else inside)
    found, outside, others = [], [], 0
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=follow_links):
        kept = [name for name in folders if recursive and not name.startswith(".")]
        if follow_links:  # which may lead round in circles
            seen.add(os.path.realpath(place))
            kept = [name for name in kept if os.path.realpath(f"{place}/{name}") not in seen]
        else:
            outside += [f"{place}/{name}" for name in kept if leads_out(f"{place}/{name}", root)]
        folders[:] = kept
        for name in names:
            if name.startswith("."):
                continue
            path = os.path.join(place, name)  # noqa: PTH118 - a Path for each would take seconds
            if os.path.splitext(name)[1].lower() not in PICTURE_SUFFIXES:  # noqa: PTH122
                others += 1
            elif not follow_links and leads_out(path, root):
                outside.append(path)
            else:
                found.append(path)
    # Paths sort by their parts, which differs from the order of their text.
    return FolderScan(sorted(map(Path, found)), sorted(map(Path, outside)), others)


def _scan_stored(folder: StoredPath, recursive: bool) -> FolderScan:
    found, others = [], 0
    for file in folder.files():
        parts = file.relative_to(folder).parts
        if any(part.startswith(".") for part in parts) or (len(parts) > 1 and not recursive):
            continue
        if os.path.splitext(parts[-1])[1].lower() in PICTURE_SUFFIXES:  # noqa: PTH122
            found.append(file)
        else:
            others += 1
    return FolderScan(sorted(found), [], others)


def leads_out(path: Path | str | StoredPath, root: Path | str | StoredPath) -> bool:
    """Return whether a path is a symbolic link to something outside a folder.

    Args:
        path: The path; where it is no link, the answer is no.
        root: The folder, without links (``os.path.realpath()``).
    """
    if isinstance(path, StoredPath) or not os.path.islink(path):  # noqa: PTH114
        return False
    assert not isinstance(root, StoredPath)
    return not Path(os.path.realpath(path)).is_relative_to(root)
