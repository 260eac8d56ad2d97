"""Pictures: reading files, or encoded bytes, of any kind as RGB pixels."""

from __future__ import annotations

import io
import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tlkit.errors import DataError, PictureError, TlkitError
from tlkit.limits import limit, raise_with
from tlkit.records import UInt8Array
from tlkit.stored_path import StoredPath

# The only formats that are tried, whatever a file is called. Pillow reads many more, some of them
# with programs from outside (EPS), most of them seldom tested.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
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
        raise unreadable(source, name, err) from err


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
        name = name_of(source, name)
        source = stored_content(source, name)
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
        raise unreadable(source, name, err) from err
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


def stored_content(source: StoredPath, name: str) -> bytes:
    """Return the content of a picture in an object store.

    Raises:
        PictureError: If it cannot be read.
    """
    try:
        return source.read_bytes()
    except DataError as err:
        raise _error(source, name, str(err)) from err


def name_of(source: Source, name: str | None) -> str:
    """Return what errors call a picture: its name if it has one, or its path."""
    if name is not None:
        return name
    return f"of {len(source):,} bytes" if isinstance(source, bytes) else str(source)


def _error(source: Source, name: str | None, reason: str) -> PictureError:
    return PictureError(f"Cannot read the picture {name_of(source, name)}: {reason}", reason)


def unreadable(source: Source, name: str | None, err: Exception) -> PictureError:
    """Return the error of a picture that cannot be read, with what the decoder said in words."""
    from PIL import UnidentifiedImageError

    if isinstance(source, StoredPath):
        source, name = source.read_bytes(), name_of(source, name)
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
