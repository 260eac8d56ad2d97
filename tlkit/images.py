"""Pictures: reading files, or encoded bytes, of any kind as RGB pixels."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from tlkit.errors import DataError, PictureError, TlkitError
from tlkit.limits import limit, raise_with
from tlkit.records import UInt8Array
from tlkit.stored_path import StoredPath
from tlkit.threads import map_in_threads

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
# The only formats that are tried, whatever a file is called. Pillow reads many more, some of them
# with programs from outside (EPS), most of them seldom tested.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
READ_AT_ONCE = 16
# Deflate, which PNG is packed with, makes at most 258 bytes of two bits.
MAX_DEFLATE_RATIO = 1032


Source = Path | str | bytes | StoredPath


def read_picture(source: Source, name: str | None = None) -> UInt8Array:
    """Read the first frame of a picture.

    Its EXIF orientation is applied, transparency is laid on white, and any colour mode becomes
    RGB. 16-bit greys keep their upper eight bits. What Pillow warns of is not held back here, since
    Python's warning filters belong to all threads; see ``without_warnings()``.

    Args:
        source: The file's path, or its content; or where it lies in an object store.
        name: What to call it in errors; by default its path.

    Returns:
        uint8 array (height, width, 3), values 0 to 255.

    Raises:
        PictureError: If the file is missing, is no picture, is cut short, or is larger than
            allowed.
        ConfigError: If an environment variable sets an impossible limit.
    """
    import numpy as np
    from PIL import ImageOps

    try:
        with open_picture(source, name) as picture:
            ImageOps.exif_transpose(picture, in_place=True)
            return np.asarray(_to_rgb(picture))
    except TlkitError:
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
def open_picture(source: Source, name: str | None = None) -> Iterator[Any]:
    """Yield the ``PIL.Image`` of a picture whose header was read and whose pixels were not.

    Raises:
        PictureError: If it is no picture of the ``FORMATS``, larger than TLKIT_MAX_PIXELS and
            TLKIT_MAX_SIDE allow, or if its header says more than its data can hold.
        ConfigError: If an environment variable sets an impossible limit.
    """
    from PIL import Image

    if isinstance(source, StoredPath):
        name = _name(source, name)
        source = _stored_content(source, name)
    most = limit("TLKIT_MAX_PIXELS")
    if 2 * (Image.MAX_IMAGE_PIXELS or most) < most and os.environ.get("TLKIT_MAX_PIXELS"):
        # Pillow refuses twice its own limit; whoever sets ours wants it to hold.
        Image.MAX_IMAGE_PIXELS = most // 2 + 1
    try:
        size = _file_size(source)
        picture = Image.open(
            io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS
        )
    except Image.DecompressionBombError as err:
        number = re.search(r"\d+", str(err))
        pixels = f"{int(number[0]):,}" if number else "too many"
        allowed = min(most, 2 * (Image.MAX_IMAGE_PIXELS or most))
        raise _error(source, name, _too_large(f"it has {pixels} pixels", allowed)) from err
    except DataError as err:
        raise _error(source, name, str(err)) from err
    except Exception as err:
        raise _unreadable(source, name, err) from err
    with picture:
        width, height = picture.size
        least = _bytes_of_png(picture) // MAX_DEFLATE_RATIO
        if least > size:
            reason = (
                f"it says that it is {width} x {height} pixels, and has {size:,} bytes, which "
                f"cannot hold them"
            )
            raise _error(source, name, reason)
        if width * height > most:
            raise _error(source, name, _too_large(f"it is {width} x {height} pixels", most))
        longest = limit("TLKIT_MAX_SIDE")
        if max(width, height) > longest:
            reason = (
                f"it is {width} x {height} pixels; allowed are {longest:,} a side. "
                f"{raise_with('TLKIT_MAX_SIDE')}"
            )
            raise _error(source, name, reason)
        yield picture


def _file_size(source: Path | str | bytes) -> int:
    if isinstance(source, bytes):
        return len(source)
    status = os.stat(source)  # noqa: PTH116 - a Path takes longer than the rest
    # A pipe would be waited for, and a device may have no end.
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise DataError("it is no ordinary file")
    return status.st_size


def _too_large(what: str, most: int) -> str:
    return f"{what}; allowed are {most:,} in all. {raise_with('TLKIT_MAX_PIXELS')}"


def _bytes_of_png(picture: Any) -> int:
    """Return the least bytes that the pixels of a PNG have when unpacked; 0 for other formats."""
    if picture.format != "PNG" or not picture.tile:
        return 0
    mode, _, depth = str(picture.tile[0][3]).partition(";")
    channels = {"LA": 2, "RGB": 3, "RGBA": 4}.get(mode, 1)
    bits = int(depth.rstrip("B") or (1 if mode == "1" else 8))
    return int(picture.width * picture.height * channels * bits // 8)


def _stored_content(source: StoredPath, name: str) -> bytes:
    try:
        return source.read_bytes()
    except DataError as err:
        raise _error(source, name, str(err)) from err


def _name(source: Source, name: str | None) -> str:
    if name is not None:
        return name
    return f"of {len(source):,} bytes" if isinstance(source, bytes) else str(source)


def _error(source: Source, name: str | None, reason: str) -> PictureError:
    return PictureError(f"Cannot read the picture {_name(source, name)}: {reason}", reason)


def _unreadable(source: Source, name: str | None, err: Exception) -> PictureError:
    from PIL import UnidentifiedImageError

    if isinstance(source, StoredPath):
        source, name = source.read_bytes(), _name(source, name)
    if isinstance(err, UnidentifiedImageError):
        size = len(source) if isinstance(source, bytes) else Path(source).stat().st_size
        kinds = ", ".join(FORMATS)
        reason = f"it is no picture of a kind that is read ({kinds})" if size else "it is empty"
    else:
        reason = getattr(err, "strerror", None) or str(err) or type(err).__name__
        if "truncated" in reason.lower():
            reason = "it is cut short"
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
    # A conversion to the same mode would be a copy.
    return picture if picture.mode == "RGB" else picture.convert("RGB")


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


def digest_of_digests(digests: Sequence[bytes]) -> str:
    """Return the SHA-256 of all pictures of a sequence, given that of each.

    So one reading of the files serves both, and it can be shared out among threads.
    """
    return hashlib.sha256(b"".join(digests)).hexdigest()


class EncodedPictures(Sequence[UInt8Array]):
    """Pictures that are read and decoded when they are asked for.

    Attributes:
        sources: Where they come from, in order.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        names: Sequence[str] | None = None,
        hint: str = "",
    ) -> None:
        """Keep the sources.

        Args:
            sources: For each picture the path of its file, be it in an object store, or the file's
                content. A lazy sequence is asked from several threads at once.
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

    def part(self, rows: range) -> EncodedPictures:
        """Return pictures that follow each other, without a trace of the others."""
        sources = [self.sources[row] for row in rows]
        names = None if self._names is None else [self._names[row] for row in rows]
        return EncodedPictures(sources, names, self._hint)

    def loaded(self, who: str) -> EncodedPictures:
        """Return the same pictures with their files read, not decoded.

        Args:
            who: Said of a file that cannot be read: who tried, such as ``" on node a"``.

        Raises:
            PictureError: If a file cannot be read.
        """
        names = [
            _name(source, None if self._names is None else self._names[index])
            for index, source in enumerate(self.sources)
        ]

        def content(index: int) -> bytes:
            try:
                return self._content(index)
            except PictureError as err:
                reason = f"{err.reason.rstrip('.')}{who}"
                raise PictureError(
                    f"Cannot read the picture {names[index]}: {reason}", reason
                ) from err

        # The way to an object store is long, and many files fit on it at a time.
        with ThreadPoolExecutor(READ_AT_ONCE) as pool:
            contents = list(pool.map(content, range(len(self))))
        return EncodedPictures(contents, names, self._hint)

    def fingerprint(self) -> str:
        """Return the SHA-256 of what ``digests()`` returns, in order.

        Raises:
            PictureError: If a file cannot be read.
        """
        return digest_of_digests(self.digests())

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
        if isinstance(source, StoredPath):
            return _stored_content(source, str(source))
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
