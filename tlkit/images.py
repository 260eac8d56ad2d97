"""Pictures: reading files of any kind as RGB pixels."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

from tlkit.errors import DataError
from tlkit.records import UInt8Array

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
MAX_PIXELS = 200_000_000


def read_picture(path: Path | str) -> UInt8Array:
    """Read the first frame of a picture file.

    Its EXIF orientation is applied, transparency is laid on white, and any colour mode becomes
    RGB. 16-bit greys keep their upper eight bits.

    Args:
        path: The file.

    Returns:
        uint8 array (height, width, 3), values 0 to 255.

    Raises:
        DataError: If the file is missing, is no picture, is cut short, or has over ``MAX_PIXELS``.
    """
    import numpy as np
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            # The size is checked below, before any pixel is decoded.
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                width, height = picture.size
                if width * height > MAX_PIXELS:
                    raise DataError(
                        f"{path} is {width} x {height} pixels; allowed are {MAX_PIXELS:,} in all."
                    )
                return np.asarray(_to_rgb(ImageOps.exif_transpose(picture)))
    except DataError:
        raise
    except Exception as err:  # Pillow's decoders raise many kinds of error on broken files
        reason = getattr(err, "strerror", None) or str(err) or type(err).__name__
        raise DataError(f"Cannot read the picture {path}: {reason}") from err


def _to_rgb(picture: Any) -> Any:
    import numpy as np
    from PIL import Image

    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode in ("I", "F"):
        grey = np.asarray(picture)
        top = grey.max(initial=0)
        scaled = grey / 256 if top > 255 else grey
        return Image.fromarray(np.clip(scaled, 0, 255).astype(np.uint8)).convert("RGB")
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def list_pictures(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Return the picture files of a folder by their suffix, sorted; hidden files are left out.

    Symbolic links that lead out of the folder are left out too.
    """
    return scan_pictures(folder, recursive=recursive)[0]


def scan_pictures(folder: Path, *, recursive: bool = False) -> tuple[list[Path], int]:
    """Return what ``list_pictures()`` returns, and how many other files there are.

    Args:
        folder: The folder.
        recursive: Whether to look into its sub-folders.

    Returns:
        The pictures, sorted, and the number of files that are not hidden and no pictures.
    """
    root = folder.resolve()
    found, others = [], 0
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        for name in names:
            if name.startswith("."):
                continue
            path = os.path.join(place, name)  # noqa: PTH118 - a Path for each would take seconds
            suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
            leads_out = os.path.islink(path) and not _stays_within(root, path)  # noqa: PTH114
            if suffix in PICTURE_SUFFIXES and not leads_out:
                found.append(path)
            else:
                others += 1
    # Paths sort by their parts, which differs from the order of their text.
    return sorted(map(Path, found)), others


def _stays_within(root: Path, path: str) -> bool:
    target = Path(path).resolve()
    return target.is_file() and target.is_relative_to(root)


class PictureFiles(Sequence[UInt8Array]):
    """Pictures that are read when they are asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Keep the paths.

        Args:
            paths: The files, in order.
        """
        self.paths = tuple(paths)

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> UInt8Array: ...
    @overload
    def __getitem__(self, index: slice) -> PictureFiles: ...

    def __getitem__(self, index: int | slice) -> UInt8Array | PictureFiles:
        if isinstance(index, slice):
            return PictureFiles(self.paths[index])
        return read_picture(self.paths[index])

    def __iter__(self) -> Iterator[UInt8Array]:
        return (read_picture(path) for path in self.paths)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the files' contents, in order.

        Raises:
            DataError: If a file cannot be read.
        """
        digest = hashlib.sha256()
        for path in self.paths:
            try:
                content = path.read_bytes()
            except OSError as err:
                raise DataError(f"Cannot read the picture {path}: {err.strerror}") from err
            digest.update(len(content).to_bytes(8, "little"))
            digest.update(content)
        return digest.hexdigest()
