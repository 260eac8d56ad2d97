"""The server: how long it may take, where it is, and what a folder knows of its run there."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import unquote_plus

from tlkit import atomic_write_text

LINK = "mlflow.json"
# MLflow's own are 120 seconds and 7 retries: one figure would hold a training for minutes.
_FIGURES = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
_FILES = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "120", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
# Else it prints to stdout, where `tlkit compare --json` writes JSON.
_QUIET = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
# What stands before the @ of a host; a token may stand there alone. In the password of a database
# SQLAlchemy takes any sign but the @.
_WEB_USER = re.compile(r"^(https?://)[^/?#]*@", re.IGNORECASE)
_DATABASE_USER = re.compile(
    r"^(?!https?:)([\w+.-]+://)[^:/@]*(?P<password>:[^@]*)?@", re.IGNORECASE
)
# Also within a value, as in "?odbc_connect=...;PWD=...". A passfile is a path.
_SECRET = re.compile(
    r"(pass(?!file)|pwd|token|secret|credential|(api|access)[_-]?key)[^=&;]*=", re.IGNORECASE
)


@contextlib.contextmanager
def patience(*, files: bool = False) -> Iterator[None]:
    """Limit what a server that does not answer can cost; variables that the user has set stay.

    Args:
        files: Whether files are sent, which may take longer than figures.
    """
    values = (_FILES if files else _FIGURES) | _QUIET
    added = [key for key in values if key not in os.environ]
    os.environ.update({key: values[key] for key in added})
    try:
        yield
    finally:
        for key in added:
            os.environ.pop(key, None)


@contextlib.contextmanager
def tracking(uri: str | None) -> Iterator[None]:
    """Make a server MLflow's own for a while, also for what the caller's code logs meanwhile.

    Args:
        uri: The server or store; None for the one that MLflow uses anyhow.
    """
    import mlflow

    if uri is None:
        yield
        return
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)


@dataclass(frozen=True)
class Link:
    """What a run folder, or the folder of a comparison, knows of its run in MLflow.

    Attributes:
        tracking_uri: The server or store, without a password.
        experiment_id: The experiment.
        run_id: The run.
        url: Its page; empty where the store is no server.
        complete: Whether all of it was sent.
    """

    tracking_uri: str
    experiment_id: str
    run_id: str
    url: str
    complete: bool = False


def read_link(folder: Path, tracking_uri: str) -> Link | None:
    """Return the link of a folder; None where there is none to this server."""
    try:
        link = Link(**json.loads((folder / LINK).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return link if link.tracking_uri == without_password(tracking_uri) else None


def write_link(folder: Path, link: Link) -> None:
    """Write the link of a folder."""
    atomic_write_text(folder / LINK, json.dumps(asdict(link), indent=2) + "\n")


def mark_complete(folder: Path, tracking_uri: str) -> None:
    """Note in a folder's link that all of it was sent."""
    link = read_link(folder, tracking_uri)
    if link is not None:
        write_link(folder, replace(link, complete=True))


def make_link(tracking_uri: str, experiment_id: str, run_id: str) -> Link:
    """Return the link to a run."""
    shown = without_password(tracking_uri)
    url = ""
    if shown.startswith(("http://", "https://")):
        url = f"{shown.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"
    return Link(shown, experiment_id, run_id, url)


def without_password(uri: str) -> str:
    """Return a URI without user name, password, and query keys such as ``token``."""
    plain = _DATABASE_USER.sub(r"\1", _WEB_USER.sub(r"\1", uri))
    place, _, query = plain.partition("?")
    items = query.split("&")
    kept = [item for item in items if not _SECRET.search(unquote_plus(item))]
    if kept == items:
        return plain
    return f"{place}?{'&'.join(kept)}" if kept else place


def has_password(uri: str) -> bool:
    """Return whether a URI holds a password or token; a database's user name alone is none."""
    database = _DATABASE_USER.match(uri)
    if database is not None and not database["password"]:
        uri = _DATABASE_USER.sub(r"\1", uri)
    return without_password(uri) != uri
