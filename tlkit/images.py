"""Pictures: reading files, or encoded bytes, of any kind as RGB pixels."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

from tlkit.errors import DataError, PictureError
from tlkit.records import UInt8Array
from tlkit.threads import map_in_threads

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
MAX_PIXELS = 200_000_000


def read_picture(source: Path | str | bytes, name: str | None = None) -> UInt8Array:
    """Read the first frame of a picture.

    Its EXIF orientation is applied, transparency is laid on white, and any colour mode becomes
    RGB. 16-bit greys keep their upper eight bits. What Pillow warns of is not held back here, since
    Python's warning filters belong to all threads; see ``without_warnings()``.

    Args:
        source: The file's path, or its content.
        name: What to call it in errors; by default its path.

    Returns:
        uint8 array (height, width, 3), values 0 to 255.

    Raises:
        PictureError: If the file is missing, is no picture, is cut short, or has over
            ``MAX_PIXELS``.
    """
    import numpy as np
    from PIL import ImageOps

    try:
        with open_picture(source, name) as picture:
            return np.asarray(_to_rgb(ImageOps.exif_transpose(picture)))
    except DataError:
        raise
    except Exception as err:  # Pillow's decoders raise many kinds of error on broken files
        raise _unreadable(source, name, err) from err


@contextmanager
def without_warnings() -> Iterator[None]:
    """Hold back what Pillow warns of, such as odd EXIF data, in this thread and all others.

    Whoever starts the threads enters it, once, around all of their work: entered by each thread,
    they would put each other's filters back.
    """
    with warnings.catch_warnings():
        # Sizes are checked before any pixel is decoded, so that of Pillow's is not needed either.
        warnings.filterwarnings("ignore", module=r"PIL\b")
        yield


@contextmanager
def open_picture(source: Path | str | bytes, name: str | None = None) -> Iterator[Any]:
    """Yield the ``PIL.Image`` of a picture whose header was read and whose pixels were not.

    Raises:
        PictureError: If it is no picture, or has over ``MAX_PIXELS``.
    """
    from PIL import Image

    try:
        picture = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    except Exception as err:
        raise _unreadable(source, name, err) from err
    with picture:
        width, height = picture.size
        if width * height > MAX_PIXELS:
            reason = f"it has {width} x {height} pixels; allowed are {MAX_PIXELS:,} in all"
            raise _error(source, name, reason)
        yield picture


def _name(source: Path | str | bytes, name: str | None) -> str:
    if name is not None:
        return name
    return f"of {len(source):,} bytes" if isinstance(source, bytes) else str(source)


def _error(source: Path | str | bytes, name: str | None, reason: str) -> PictureError:
    return PictureError(f"Cannot read the picture {_name(source, name)}: {reason}", reason)


def _unreadable(source: Path | str | bytes, name: str | None, err: Exception) -> PictureError:
    from PIL import UnidentifiedImageError

    if isinstance(err, UnidentifiedImageError):
        size = len(source) if isinstance(source, bytes) else Path(source).stat().st_size
        reason = "it is empty" if size == 0 else "it has no format that Pillow reads"
    else:
        reason = getattr(err, "strerror", None) or str(err) or type(err).__name__
    return _error(source, name, reason)


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


class _Chosen(Sequence[Any]):
    """Some items of a sequence, which may be a lazy one."""

    def __init__(self, items: Sequence[Any], rows: Sequence[int]) -> None:
        self._items, self._rows = items, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return _Chosen(self._items, self._rows[index])
        return self._items[self._rows[index]]


class EncodedPictures(Sequence[UInt8Array]):
    """Pictures that are read and decoded when they are asked for.

    Attributes:
        sources: Where they come from, in order.
    """

    def __init__(
        self,
        sources: Sequence[Path] | Sequence[bytes] | Sequence[Path | bytes],
        names: Sequence[str] | None = None,
        hint: str = "",
    ) -> None:
        """Keep the sources.

        Args:
            sources: For each picture the path of its file, or the file's content. A lazy sequence
                is asked from several threads at once.
            names: What errors call them; by default their paths.
            hint: Said after the error about a picture that cannot be read: what to do about it.
        """
        self.sources: Sequence[Any] = sources
        self._names, self._hint = names, hint

    def __len__(self) -> int:
        return len(self.sources)

    @overload
    def __getitem__(self, index: int) -> UInt8Array: ...
    @overload
    def __getitem__(self, index: slice) -> EncodedPictures: ...

    def __getitem__(self, index: int | slice) -> UInt8Array | EncodedPictures:
        if isinstance(index, slice):
            return self.take(range(len(self))[index])
        name = None if self._names is None else self._names[index]
        try:
            return read_picture(self.sources[index], name)
        except PictureError as err:
            if not self._hint:
                raise
            raise PictureError(f"{str(err).rstrip('.')}. {self._hint}", err.reason) from err

    def __iter__(self) -> Iterator[UInt8Array]:
        return (self[index] for index in range(len(self)))

    def take(self, rows: Sequence[int]) -> EncodedPictures:
        """Return some of the pictures, in the order of their indices."""
        names = None if self._names is None else _Chosen(self._names, rows)
        return EncodedPictures(_Chosen(self.sources, rows), names, self._hint)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the encoded pictures, in order.

        Raises:
            PictureError: If a file cannot be read.
        """
        digest = hashlib.sha256()
        for index in range(len(self)):
            content = self._content(index)
            digest.update(len(content).to_bytes(8, "little"))
            digest.update(content)
        return digest.hexdigest()

    def digests(self) -> list[bytes]:
        """Return the SHA-256 of each encoded picture: equal ones are copies of one file.

        Raises:
            PictureError: If a file cannot be read.
        """
        return map_in_threads(self._digest, len(self))

    def _digest(self, index: int) -> bytes:
        return hashlib.sha256(self._content(index)).digest()

    def _content(self, index: int) -> bytes:
        source = self.sources[index]
        if isinstance(source, bytes):
            return source
        try:
            return Path(source).read_bytes()
        except OSError as err:
            raise _unreadable(source, None, err) from err


class PictureFiles(EncodedPictures):
    """Picture files that are read when they are asked for.

    Attributes:
        paths: The files, in order.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Keep the paths.

        Args:
            paths: The files, in order.
        """
        self.paths = tuple(paths)
        super().__init__(self.paths)
