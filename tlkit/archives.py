"""Archives from outside, checked before anything in them is unpacked."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterable
from pathlib import PurePosixPath, PureWindowsPath

from tlkit.errors import UnsafeFileError
from tlkit.limits import limit, raise_with

# A member that unpacks to more than both is a decompression bomb. Deflate reaches 1,032.
BOMB_BYTES, BOMB_RATIO = 64 * 2**20, 100


def check_zip(archive: zipfile.ZipFile, allowed: Iterable[str] | None = None) -> None:
    """Check what a zip file says of its members, without unpacking any.

    Args:
        archive: The open file.
        allowed: The only names of members that are let in; by default any that stay inside.

    Raises:
        UnsafeFileError: If a member leads out of the archive, is a link, is encrypted or is there
            twice, or if it would unpack to more than it should. The message begins with "it".
    """
    names = None if allowed is None else frozenset(allowed)
    seen: set[str] = set()
    total = 0
    for item in archive.infolist():
        name = item.filename
        total += item.file_size
        check_member(name, total)
        if stat.S_ISLNK(item.external_attr >> 16):
            raise UnsafeFileError(f"it has a member {name!r}, which is a link")
        if names is not None and name not in names:
            expected = ", ".join(sorted(names))
            raise UnsafeFileError(f"it has a member {name!r}; allowed are {expected}")
        if name in seen:
            raise UnsafeFileError(f"it has two members {name!r}")
        if item.flag_bits & 1:
            raise UnsafeFileError(f"its member {name!r} is encrypted")
        seen.add(name)
        if item.file_size > max(BOMB_BYTES, BOMB_RATIO * item.compress_size):
            raise UnsafeFileError(
                f"its member {name!r} would unpack from {item.compress_size:,} to "
                f"{item.file_size:,} bytes, as a decompression bomb does; pack it without "
                f"compression if that is right"
            )


def check_member(name: str, total: int) -> None:
    """Check one member of an archive.

    Args:
        name: Its name.
        total: The bytes that it and those before it unpack to.

    Raises:
        UnsafeFileError: If it leads out of the archive, or the bytes are more than
            TLKIT_MAX_FILE_BYTES. The message begins with "it".
    """
    posix, windows = PurePosixPath(name.replace("\\", "/")), PureWindowsPath(name)
    if posix.is_absolute() or windows.drive or ".." in posix.parts:
        raise UnsafeFileError(f"it has a member {name!r}, which leads out of the archive")
    most = limit("TLKIT_MAX_FILE_BYTES")
    if total > most:
        raise UnsafeFileError(
            f"it would unpack to {total:,} bytes, more than {most:,}. "
            f"{raise_with('TLKIT_MAX_FILE_BYTES')}"
        )
