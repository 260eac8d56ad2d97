"""The errors that tlkit raises on purpose: what was received, what is allowed, what to do."""

from __future__ import annotations

import difflib
import re
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
    """A recipe, a config file or an override that is not valid.

    Correct the key that the message names: ``tlkit schema config`` and the page of config keys say
    what is allowed. Nothing was computed yet.
    """


class UnknownPluginError(TlkitError, LookupError):
    """A plugin name that is not registered.

    ``tlkit plugins`` lists what is installed; a plugin of another distribution is there once that
    is installed in the same environment and TLKIT_PLUGINS does not leave it out.
    """


class PluginError(TlkitError):
    """A plugin that breaks its contract: it fails to load, takes a used name, returns nonsense.

    The message names the distribution: update it, leave it out by TLKIT_PLUGINS, or tell its
    author; ``tlkit check NAME`` shows every rule that the plugin breaks.
    """


class DuplicatePluginError(PluginError):
    """Two packages that register one name of one kind.

    Uninstall one of them, or list the others in TLKIT_PLUGINS.
    """


class DataError(TlkitError):
    """A dataset or picture that is missing, unreadable or inconsistent.

    Correct or leave out the file that the message names: ``broken = "skip"`` in [dataset] leaves
    unreadable pictures out and counts them.
    """


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
    """A file from outside that names or holds what tlkit does not let in.

    Nothing of the file was run. Get it from a source that you trust, or raise a limit by the
    environment variable that the message names.
    """


class EngineError(TlkitError):
    """An engine that is not installed, or does not give the backbone's features.

    Take another engine, such as ``engine = "tensorflow"``, or install what the message names.
    """


class ClusterError(TlkitError):
    """A cluster that cannot be reached, or whose workers do not do what was asked of them.

    Look whether the nodes run, and have the same packages; finished shards are kept, and the
    same command goes on after them.
    """

    exit_code = 1


class WeightsError(TlkitError):
    """Pretrained weights that are missing or do not fit the backbone.

    Put the file where the message says, or download it where there is internet; damaged files
    are named with the SHA-256 that was expected.
    """


class RunFolderError(TlkitError):
    """A run folder that is missing, incomplete or damaged.

    Give the folder of a run; ``tlkit resume RUN`` goes on with one that was begun and not finished.
    """


class ObjectStoreError(TlkitError):
    """A URL that cannot be used, or an object store that does not do what it is asked.

    Check the URL; credentials belong into the environment, never into the URL.
    """


class ObjectMissingError(ObjectStoreError):
    """A bucket or an object that is not there.

    Check the name; buckets are made by their owner, not by tlkit.
    """


class ObjectExistsError(ObjectStoreError):
    """An object that is there already, and must not be replaced.

    Take another name, or remove what is there.
    """


class StoreFailedError(ObjectStoreError):
    """An object store that refuses, cannot be reached, or sends other bytes than were stored.

    Check the network, the credentials and the rights; then run the same command again.
    """

    exit_code = 1


class ExplanationError(TlkitError):
    """An answer that cannot be explained, or not by the method that was asked for.

    Take another method, or a model whose last block has a height and a width.
    """


class ExportError(TlkitError):
    """A model that cannot be written in a format, or not with what is installed.

    Install the extra that the message names, or export to another format.
    """


class TrainingError(TlkitError):
    """A run that began with valid input and failed, such as by a loss that is not a number.

    The run folder keeps what was done; the message says which setting to change, such as a lower
    learning rate.
    """

    exit_code = 1


class WorkerLostError(TrainingError):
    """Another worker of a cluster ended, or cannot be reached; the run can be resumed.

    Start all workers again with ``tlkit resume``; the run goes on after its last whole epoch.
    """


def did_you_mean(received: str, allowed: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest allowed name, or an empty string."""
    found = nearest(received, allowed)
    return "" if found is None else f" Did you mean '{found}'?"


def nearest(received: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed name that is most like the received one, or None if none is like it.

    One that goes on where the received one ends, as ``fine_tune_epochs`` after ``fine_tune``, comes
    before those that are like it only from afar; so does one with these initials, as
    ``learning_rate`` for ``lr``. One of the same letters comes first.
    """
    names = list(allowed)
    same = [name for name in names if _letters(name) == _letters(received)]
    close = difflib.get_close_matches(received, names, n=1, cutoff=0.85)
    longer = [name for name in names if name.startswith(f"{received}_")]
    initials = [name for name in names if "".join(re.findall(r"(?<![^_])[^_]", name)) == received]
    found = (
        same
        or close
        or longer
        or initials
        or difflib.get_close_matches(received, names, n=1, cutoff=0.6)
    )
    return found[0] if found else None


def _letters(name: str) -> str:
    """Return a name without what spellings differ in, as ``MobileNetV2`` and ``mobilenet_v2``."""
    return re.sub(r"[\W_]", "", name).lower()
