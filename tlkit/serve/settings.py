"""Settings of the service: limits, and who may call it."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from tlkit.errors import ConfigError
from tlkit.extras import require_modules
from tlkit.paths import expand_home
from tlkit.screen import say

EXTRA = "'tlkit[serve]'"
MODULES = ("fastapi", "uvicorn", "prometheus_client", "python_multipart")
TOKEN_VARIABLE = "TLKIT_TOKEN"
SHORTEST_TOKEN, LONGEST_TOKEN = 16, 512


@dataclass(frozen=True)
class Settings:
    """What the service allows.

    Attributes:
        name: The model's name in addresses.
        max_batch: Most pictures that the model sees at once.
        max_delay_ms: How long a picture waits for others, in milliseconds.
        max_body_mb: The largest body of a request, in megabytes of 1,000,000 bytes.
        timeout: Seconds for a request to arrive, and again for its answer.
        token: What callers must show; None for nothing.
        connections: Most connections at once.
        loopback: Whether only this machine can reach it.
    """

    name: str
    max_batch: int = 32
    max_delay_ms: float = 5.0
    max_body_mb: float = 16.0
    timeout: float = 30.0
    token: str | None = field(default=None, repr=False)
    connections: int = 256
    loopback: bool = True

    def __post_init__(self) -> None:
        """Check the name.

        Raises:
            ConfigError: If it would not be one part of an address.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.name):
            raise ConfigError(
                f"Cannot serve a model under the name {self.name!r}; allowed: letters, digits, "
                f"'.', '_' and '-', 100 at most. Give another one with --name."
            )

    @property
    def max_body_bytes(self) -> int:
        """The largest body of one request."""
        return int(self.max_body_mb * 1e6)

    @property
    def max_held_bytes(self) -> int:
        """What the bodies of all requests together may take."""
        return 16 * self.max_body_bytes

    @property
    def max_pictures(self) -> int:
        """Most pictures that are decoded, wait and are classified at one time."""
        return 8 * self.max_batch


def require_extra() -> None:
    """Import what the service is made with.

    Raises:
        PluginError: If it is not installed; the message says how to install it.
    """
    require_modules("tlkit serve needs", MODULES, EXTRA)


def address_name(text: str) -> str:
    """Return a name for addresses that is like a run's; ``"model"`` where nothing is left."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-_")[:100] or "model"


def read_token(file: Path | None) -> str | None:
    """Return the token from a file, else from the environment variable TLKIT_TOKEN, else None.

    Neither shows in the list of processes, as an option would.

    Raises:
        ConfigError: If the file cannot be read, or the token is too short or cannot be sent.
    """
    if file is None:
        text, source = os.environ.get(TOKEN_VARIABLE), f"the environment variable {TOKEN_VARIABLE}"
        if not text:
            return None
    else:
        file = expand_home(file)
        source = f"the file {file}"
        try:
            with file.open("rb") as opened:
                shared = os.fstat(opened.fileno()).st_mode & (stat.S_IRGRP | stat.S_IROTH)
                text = opened.read(LONGEST_TOKEN + 100).decode("utf-8", "replace")
        except OSError as err:
            raise ConfigError(
                f"Cannot read the token from {source}: {err.strerror}. Make one, such as by: "
                f"umask 077; openssl rand -hex 32 > token"
            ) from err
        if shared and os.name == "posix":
            say(f"Warning: other users may read the token in {file}: chmod 600 {file}")
    token = text.strip()
    if not re.fullmatch(rf"[!-~]{{{SHORTEST_TOKEN},{LONGEST_TOKEN}}}", token):
        raise ConfigError(
            f"The token in {source} is not allowed: {SHORTEST_TOKEN} to {LONGEST_TOKEN} letters, "
            f"digits and signs of ASCII, without spaces. Make one, such as by: openssl rand -hex 32"
        )
    return token
