"""URLs of folders in object stores: which are allowed, and where what lies there is kept."""

from __future__ import annotations

import re
from pathlib import Path

from tlkit.errors import ConfigError, ObjectStoreError, PluginError
from tlkit.paths import expand_home, stores_folder
from tlkit.text import printable

_URL = re.compile(r"(?P<protocol>[a-z][a-z0-9+-]*)://(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_COLLAPSED = re.compile(r"([a-z][a-z0-9+-]+):/+([^/].*)", re.IGNORECASE | re.DOTALL)
_EXTRAS = {"s3": "'tlkit[s3]'", "s3a": "'tlkit[s3]'", "gs": "'tlkit[gcs]'", "gcs": "'tlkit[gcs]'"}
_LOCAL = ("file", "local")
_NO_FOLDERS = ("http", "https", "data")
_PORT = re.compile(r"[^:@]+:[0-9]{1,5}")
_DRIVE = re.compile(r"[A-Za-z]:")
_LONGEST_PART = 240  # file systems take 255 bytes, and the cache adds a letter to some


def is_url(text: object) -> bool:
    """Return whether something is written as a URL, such as ``s3://bucket/runs``; not checked."""
    return isinstance(text, str) and _URL.fullmatch(text) is not None


def check_url(url: str) -> str:
    """Check the URL of a folder or of an object; nothing is asked of the network.

    Args:
        url: Such as ``s3://bucket/folder``.

    Returns:
        The URL without slashes at its end.

    Raises:
        ObjectStoreError: If it is none, holds credentials (it is not shown then), or cannot be a
            folder of an object store.
        PluginError: If the package for its protocol is not installed.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise ObjectStoreError(
            f"'{printable(url)}' is not the URL of an object store. Allowed: s3://BUCKET/FOLDER, "
            f"or another protocol that fsspec knows, such as gs:// or az://."
        )
    protocol, rest = match["protocol"].lower(), match["rest"].rstrip("/")
    bucket = rest.split("/")[0]
    # Azure writes abfs://CONTAINER@ACCOUNT: a name before "@", but never with a colon. What stands
    # after the colon may hold a slash, as AWS's secret keys do.
    port = _PORT.fullmatch(bucket) is not None and "@" not in rest
    named = port or bucket.startswith("arn:")
    if (":" in bucket and not named) or "?" in rest or "#" in rest:
        raise ObjectStoreError(
            f"A {protocol}:// URL holds a user with a password, a '?' or a '#', which may be "
            f"credentials or a signature; it is not shown here. Allowed: {protocol}://BUCKET/FOLDER."
            f" Credentials come from the environment, such as AWS_ACCESS_KEY_ID and "
            f"AWS_SECRET_ACCESS_KEY."
        )
    shown = f"'{printable(url)}'"
    if protocol in _LOCAL:
        raise ObjectStoreError(
            f"{shown} is a local folder. Write it as a path: /{rest.lstrip('/')}"
        )
    if protocol in _NO_FOLDERS or "::" in url:
        raise ObjectStoreError(
            f"{shown} is not a folder of an object store. Allowed: s3://BUCKET/FOLDER, or another "
            f"store that fsspec can list and write, such as gs:// or az://."
        )
    if not bucket:
        raise ObjectStoreError(f"{shown} names no bucket. Allowed: {protocol}://BUCKET/FOLDER.")
    if any(part in ("", ".", "..") for part in rest.split("/")):
        raise ObjectStoreError(
            f"{shown} has an empty part, '.' or '..' between its slashes. Allowed: "
            f"{protocol}://BUCKET/FOLDER."
        )
    _require(protocol, shown)
    return f"{protocol}://{rest}"


def _require(protocol: str, shown: str) -> None:
    from fsspec.registry import get_filesystem_class, known_implementations

    try:
        get_filesystem_class(protocol)
    except ValueError:
        raise ObjectStoreError(
            f"{shown} begins with {protocol}://, a protocol that fsspec does not know. Known are, "
            f"among others: s3://, gs://, az://."
        ) from None
    except ImportError as err:
        needed = str(known_implementations[protocol]["class"]).split(".")[0]
        package = _EXTRAS.get(protocol, needed)
        raise PluginError(
            f"{shown} needs a package that cannot be imported: {err}. pip install {package}"
        ) from err


def join(url: str, name: str) -> str:
    """Return the URL of what lies below a folder."""
    return f"{url.rstrip('/')}/{name}"


def local_place(path: Path | str) -> Path:
    """Return a path with its home folder, or where the copy of what lies at a URL is kept.

    Nothing is fetched: see ``tlkit.mirror.fetched()``.

    Args:
        path: A path, or a URL; also one that became a ``Path``, which has lost a slash.

    Raises:
        ObjectStoreError: If it is a URL that cannot be used.
        PluginError: If the package for its protocol is not installed.
    """
    collapsed = _COLLAPSED.fullmatch(str(path))
    if collapsed is None:
        return expand_home(path)
    protocol, name = check_url(f"{collapsed[1]}://{collapsed[2]}").split("://")
    return local_path(stores_folder() / protocol, name)


def local_only(path: Path | str) -> Path:
    """Return the path of an output folder that cannot be at a URL, with its home folder.

    Args:
        path: A path; of a ``Path`` it is seen too that it was a URL.

    Raises:
        ConfigError: If it is a URL.
    """
    collapsed = _COLLAPSED.fullmatch(str(path))
    if collapsed is not None:
        raise ConfigError(
            f"The output {printable(collapsed[1])}:// is a URL, and the results are written into a "
            f"folder of this machine. Give a local folder: --output FOLDER."
        )
    return expand_home(path)


def local_path(folder: Path, name: str) -> Path:
    """Return where an object is kept in a local folder: below it, whatever the object's name.

    Args:
        folder: The local folder.
        name: The object's name below its folder in the store, parts divided by ``/``.

    Raises:
        ObjectStoreError: If the name cannot be that of a file below the folder.
    """
    parts = name.split("/")
    if any(
        part in ("", ".", "..")
        or any(character in part for character in "\\\0")
        or _DRIVE.match(part)
        or len(part.encode("utf-8", "surrogatepass")) > _LONGEST_PART
        for part in parts
    ):
        raise ObjectStoreError(
            f"The object '{printable(name)}' cannot be kept as a file: a part of its name is empty,"
            f" '.', '..', too long, begins like a drive's (C:), or holds a backslash. Rename it."
        )
    return folder.joinpath(*parts)
