"""Paths: what users write, as a path; where copies of what lies at URLs are kept."""

from __future__ import annotations

import os
import re
from pathlib import Path

_STORES = "stores"


def expand_home(path: Path | str) -> Path:
    """Return a path with ``~`` and ``~USER`` replaced by a home folder.

    Where there is no such user, or no home, it stays as it is, as in a shell; ``Path.expanduser()``
    raises then.
    """
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def cache_folder() -> Path:
    """Return ``$TLKIT_CACHE``, or the user's cache folder for tlkit."""
    import platformdirs

    return Path(os.environ.get("TLKIT_CACHE") or platformdirs.user_cache_dir("tlkit"))


def stores_folder() -> Path:
    """Return the folder with copies of what lies in object stores: ``PROTOCOL/BUCKET/NAME`` each.

    The names there are those of the objects, so that each path says its URL.
    """
    return (cache_folder() / _STORES).absolute()


def url_of(path: Path) -> str | None:
    """Return the URL that a path is the copy of; None for other paths."""
    root = stores_folder()
    if not path.is_relative_to(root):
        return None
    protocol, *rest = path.relative_to(root).parts or ("",)
    return f"{protocol}://{'/'.join(rest)}" if rest and not protocol.startswith(".") else None


def with_urls(text: str) -> str:
    """Return text with the URLs in place of the paths of their copies, as users know them."""
    if f"{os.sep}{_STORES}{os.sep}" not in text:
        return text
    return re.sub(
        rf"{re.escape(str(stores_folder()))}/(?P<protocol>[a-z][a-z0-9+-]*)/",
        r"\g<protocol>://",
        text,
    )
