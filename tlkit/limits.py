"""Limits on files from outside, which environment variables set."""

from __future__ import annotations

import os

from tlkit.errors import ConfigError

# Variable -> its default.
LIMITS = {
    "TLKIT_MAX_PIXELS": 100_000_000,
    "TLKIT_MAX_SIDE": 65_535,
    "TLKIT_MAX_FILE_BYTES": 8 * 2**30,
}


def limit(variable: str) -> int:
    """Return a limit: what the environment variable says, else its default.

    Environment variables and not config keys: a config may come from the same place as the files.

    Raises:
        ConfigError: If the variable is no whole number above 0.
    """
    text = os.environ.get(variable)
    if not text:
        return LIMITS[variable]
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 19 and int(text)):
        raise ConfigError(
            f"{variable} = {text[:40]!r} is not allowed: a whole number above 0; without it the "
            f"limit is {LIMITS[variable]}."
        )
    return int(text)


def raise_with(variable: str) -> str:
    """Return the advice how to raise a limit."""
    return f"The environment variable {variable} sets this limit"
