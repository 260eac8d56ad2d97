"""Storage: where Optuna keeps a study, and what may be shown of that place."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from tlkit.errors import ConfigError
from tlkit.paths import expand_home

if TYPE_CHECKING:
    import optuna

VARIABLE = "TLKIT_SWEEP_STORAGE"
JOURNAL = "journal:"
DATABASE = "study.db"
_ALLOWED = (
    "Allowed: sqlite:///PATH, journal:PATH for a file on a disk that several machines share, or "
    "postgresql://HOST/DATABASE."
)
_DIALECT = re.compile(r"(sqlite|postgresql|mysql)(\+[a-z0-9_]+)?", re.ASCII)
_TIMEOUT = 60.0


def choose_storage(given: str | None, output: Path) -> str:
    """Return the URL of the storage.

    Args:
        given: What ``--storage`` says; else the environment variable ``TLKIT_SWEEP_STORAGE``, else
            SQLite in the output folder.
        output: Folder of the sweep.

    Raises:
        ConfigError: If it is no storage; or if ``given`` has a password, which would be seen in the
            list of processes.
    """
    if given is None:
        url = os.environ.get(VARIABLE, "").strip()
        return _checked(url, VARIABLE) if url else f"sqlite:///{(output / DATABASE).absolute()}"
    if _secrets(given):
        raise ConfigError(
            f"The URL of --storage has a password, which others would see in the list of "
            f"processes. Put the URL into the environment variable {VARIABLE} and leave --storage "
            f"out."
        )
    return _checked(given, "--storage")


def _checked(url: str, where: str) -> str:
    if url.startswith(JOURNAL) and url != JOURNAL:
        return JOURNAL + str(expand_home(url.removeprefix(JOURNAL)).absolute())
    scheme, separator, rest = url.partition("://")
    if not separator or not rest or not _DIALECT.fullmatch(scheme):
        # The text is not repeated: it may be a password in the wrong place.
        raise ConfigError(f"{where} is no storage of studies. {_ALLOWED}")
    return url


def shown(url: str) -> str:
    """Return the URL of a storage without user, password and options."""
    if url.startswith((JOURNAL, "sqlite")):
        return url.partition("?")[0]
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def _secrets(url: str) -> list[str]:
    """Return the passwords in a URL."""
    try:
        parts = urlsplit(url)
        found = [parts.password or ""]
    except ValueError:
        return []
    found += [value for key, value in parse_qsl(parts.query) if "pass" in key.lower()]
    return [text for item in found if item for text in {item, unquote(item)}]


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """Connect to a storage; what is not there yet is made.

    Raises:
        ConfigError: If it cannot be reached, or needs a package that is not installed.
    """
    import optuna

    with storage_errors(url, OSError, ValueError):
        if url.startswith(JOURNAL):
            path = Path(url.removeprefix(JOURNAL))
            path.parent.mkdir(parents=True, exist_ok=True)
            journal = optuna.storages.journal
            # Not by a symbolic link: the lock of a killed process would stay.
            lock = journal.JournalFileOpenLock(str(path))
            return optuna.storages.JournalStorage(
                journal.JournalFileBackend(str(path), lock_obj=lock)
            )
        arguments: dict[str, Any] = {}
        if url.startswith("sqlite"):
            # Another process may be writing.
            arguments = {"connect_args": {"timeout": _TIMEOUT}}
            database = url.partition("?")[0].removeprefix("sqlite:///")
            Path(database).parent.mkdir(parents=True, exist_ok=True)
        elif url.startswith("postgresql"):
            arguments = {"connect_args": {"connect_timeout": int(_TIMEOUT)}, "pool_pre_ping": True}
        return optuna.storages.RDBStorage(url, engine_kwargs=arguments)


@contextmanager
def storage_errors(url: str, *also: type[Exception]) -> Iterator[None]:
    """Turn what a storage raises into one error that names it, and none of its credentials.

    Args:
        url: The URL of the storage.
        also: Exceptions that say the same, where nothing else can have raised them.
    """
    import optuna
    import sqlalchemy.exc

    try:
        yield
    except ImportError as err:
        name = err.name or getattr(err.__cause__, "name", None) or "of its database"
        packages = {"psycopg": "'psycopg[binary]'", "MySQLdb": "mysqlclient"}
        package = packages.get(name, name)
        raise ConfigError(
            f"The storage {shown(url)} needs the package {name}: pip install {package}"
        ) from None
    except (
        sqlalchemy.exc.SQLAlchemyError,
        optuna.exceptions.StorageInternalError,
        *also,
    ) as err:
        text = " ".join(str(getattr(err, "orig", None) or err.__cause__ or err).split())
        for secret in _secrets(url):
            text = text.replace(secret, "***")
        # The chain would show the URL.
        raise ConfigError(f"Cannot use the storage {shown(url)}: {text}") from None
