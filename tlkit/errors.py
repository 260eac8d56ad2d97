"""The errors that tlkit raises on purpose: what was received, what is allowed, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from tlkit.paths import with_urls


class TlkitError(Exception):
    """Base of every error that tlkit raises on purpose.

    Attributes:
        exit_code: The exit code of the command line: 2 for bad input, 1 for a run that failed.
    """

    exit_code = 2

    def __str__(self) -> str:
        """Return the message; a copy of what lies in an object store is named by its URL."""
        return with_urls(super().__str__())


class ConfigError(TlkitError):
    """A recipe, a config file or an override that is not valid."""


class UnknownPluginError(TlkitError, LookupError):
    """A plugin name that is not registered."""


class PluginError(TlkitError):
    """A plugin that breaks its contract: it fails to load, takes a used name, returns nonsense."""


class DuplicatePluginError(PluginError):
    """Two packages that register one name of one kind."""


class DataError(TlkitError):
    """A dataset or picture that is missing, unreadable or inconsistent."""


class PictureError(DataError):
    """A picture that cannot be read.

    Attributes:
        reason: Why, without the picture's name, for where the name stands beside it.
    """

    def __init__(self, message: str, reason: str) -> None:
        """Keep both.

        Args:
            message: The whole message, the picture's name included.
            reason: Why it cannot be read.
        """
        super().__init__(message)
        self.reason = reason


class UnsafeFileError(TlkitError):
    """A file from outside that names or holds what tlkit does not let in."""


class EngineError(TlkitError):
    """An engine that is not installed, or does not give the backbone's features."""


class ClusterError(TlkitError):
    """A cluster that cannot be reached, or whose workers do not do what was asked of them."""

    exit_code = 1


class WeightsError(TlkitError):
    """Pretrained weights that are missing or do not fit the backbone."""


class RunFolderError(TlkitError):
    """A run folder that is missing, incomplete or damaged."""


class ObjectStoreError(TlkitError):
    """A URL that cannot be used, or an object store that does not do what it is asked."""


class ObjectMissingError(ObjectStoreError):
    """A bucket or an object that is not there."""


class ObjectExistsError(ObjectStoreError):
    """An object that is there already, and must not be replaced."""


class StoreFailedError(ObjectStoreError):
    """An object store that refuses, cannot be reached, or sends other bytes than were stored."""

    exit_code = 1


class ExplanationError(TlkitError):
    """An answer that cannot be explained, or not by the method that was asked for."""


class ExportError(TlkitError):
    """A model that cannot be written in a format, or not with what is installed."""


class TrainingError(TlkitError):
    """A run that began with valid input and failed, such as by a loss that is not a number."""

    exit_code = 1


class WorkerLostError(TrainingError):
    """Another worker of a cluster ended, or cannot be reached; the run can be resumed."""


def did_you_mean(received: str, allowed: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest allowed name, or an empty string."""
    found = nearest(received, allowed)
    return "" if found is None else f" Did you mean '{found}'?"


def nearest(received: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed name that is most like the received one, or None if none is like it."""
    found = difflib.get_close_matches(received, list(allowed), n=1, cutoff=0.6)
    return found[0] if found else None
