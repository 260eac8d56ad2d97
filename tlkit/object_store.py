"""Folders in object stores, such as S3, by their URLs; credentials come from the environment."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkit.atomic import atomic_path
from tlkit.errors import (
    ObjectExistsError,
    ObjectMissingError,
    ObjectStoreError,
    StoreFailedError,
)
from tlkit.store_urls import check_url, join
from tlkit.text import printable

CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 10.0, 20.0, 3
_SECRET_NAME = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL|SAS", re.IGNORECASE)
_LEAST_SECRET = 8
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class StoredObject:
    """An object as a listing tells it.

    Attributes:
        name: Its name below the folder that was listed.
        size: Bytes.
        tag: What changes whenever the object does: its ETag, where the store has such.
    """

    name: str
    size: int
    tag: str


class ObjectStore:
    """A folder in an object store.

    Objects appear whole or not at all: stores replace an object only once all of it has arrived.
    Every failure is one error. It may be pickled: the URL alone is, and credentials are looked up
    in the environment of the process that unpickles it.

    Attributes:
        url: The folder's URL, without a slash at its end.
        filesystem: fsspec's filesystem, for what the methods here do not cover; ``errors()`` turns
            its failures into one error.
        root: The folder's path in that filesystem.
    """

    def __init__(self, url: str) -> None:
        """Check the URL and make the filesystem; nothing is asked of the network.

        Args:
            url: Such as ``s3://bucket/folder``.

        Raises:
            ObjectStoreError: If it cannot be the URL of a folder.
            PluginError: If the package for its protocol is not installed.
        """
        import fsspec

        self.url = check_url(url)
        protocol = self.url.split("://")[0]
        with self.errors("open"):
            self.filesystem: Any = fsspec.filesystem(protocol, **_options(protocol))
            self.root: str = self.filesystem._strip_protocol(self.url)
        if hasattr(self.filesystem, "retries"):
            self.filesystem.retries = 2  # each is ATTEMPTS of the library below

    def __reduce__(self) -> tuple[type[ObjectStore], tuple[str]]:
        return ObjectStore, (self.url,)

    def path(self, name: str = "") -> str:
        """Return the path in ``filesystem`` of an object below the folder."""
        return f"{self.root}/{name}" if name else self.root

    def find(self, name: str = "") -> StoredObject | None:
        """Return what the store says of an object, or None if there is none; a folder is none.

        Args:
            name: Its name below the folder; empty where the URL itself is an object's.
        """
        try:
            with self.errors("look at", name):
                found = self.filesystem.info(self.path(name))
        except ObjectMissingError:
            return None
        return None if found["type"] != "file" else _stored(name, found)

    def contents(self) -> dict[str, StoredObject]:
        """Return all objects below the folder by their names, sorted; empty if there are none.

        Names come from the store and may be hostile: see ``local_path()``.

        Raises:
            ObjectMissingError: If there is no such bucket.
        """
        with self.errors("list"):
            found = self.filesystem.find(self.root, detail=True)
            if not found:
                self.filesystem.info(self.root.lstrip("/").split("/")[0])
        start = f"{self.root}/"
        # Consoles mark a folder by an empty object whose name ends with a slash.
        return {
            path[len(start) :]: _stored(path[len(start) :], facts)
            for path, facts in sorted(found.items())
            if path.startswith(start) and not path.endswith("/") and facts["type"] == "file"
        }

    def folders(self) -> list[str]:
        """Return the names of the folders right below this one, sorted."""
        try:
            with self.errors("list"):
                found = self.filesystem.ls(self.root, detail=True)
        except ObjectMissingError:
            self.contents()  # an empty folder is none; a missing bucket is an error
            return []
        names = (str(item["name"]).rstrip("/") for item in found if item["type"] == "directory")
        return sorted(name.rsplit("/", 1)[1] for name in names if name != self.root)

    def read(self, name: str = "", start: int | None = None, stop: int | None = None) -> bytes:
        """Return an object's bytes, or those from ``start`` to before ``stop``.

        Raises:
            ObjectMissingError: If there is no such object.
        """
        with self.errors("read", name):
            data: bytes = self.filesystem.cat_file(self.path(name), start=start, end=stop)
        return data

    def write(self, name: str, data: bytes, *, only_new: bool = False) -> None:
        """Write an object.

        Args:
            name: Its name below the folder.
            data: Its bytes.
            only_new: Refuse to replace an object, in one step at the store: of two writers one
                wins. S3 and Google Cloud Storage keep this promise; where a store does not, it is
                looked up before.

        Raises:
            ObjectExistsError: If ``only_new`` and there is one.
        """
        with self.errors("write", name):
            self.filesystem.pipe_file(self.path(name), data, **_mode(only_new))

    def upload(self, source: Path, name: str = "", *, only_new: bool = False) -> None:
        """Write a file as an object; otherwise as ``write()``."""
        with self.errors("write", name):
            self.filesystem.put_file(str(source), self.path(name), **_mode(only_new))

    def download(self, name: str, target: Path, sha256: str | None = None) -> StoredObject:
        """Fetch an object into a file, which appears whole and checked or not at all.

        Args:
            name: The object's name below the folder; empty where the URL itself is an object's.
            target: The file; its folder is made.
            sha256: The digest to check it against. Without it, the size is compared and, where the
                ETag looks like one, the MD5: some stores' ETags are none, so that two downloads
                that are the same are taken for right.

        Returns:
            What the store says of it.

        Raises:
            ObjectMissingError: If there is no such object.
            StoreFailedError: If what arrives is not what was stored, twice.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        before = ""
        for _ in range(2):
            facts = self.find(name)
            if facts is None:
                raise self._error(ObjectMissingError, "read", name, "there is no such object")
            with self.errors("read", name), atomic_path(target) as temporary:
                self.filesystem.get_file(self.path(name), str(temporary))
                found = _digests(temporary)
                whole = temporary.stat().st_size == facts.size
                if whole and found[0] == sha256:
                    return facts
                if whole and sha256 is None and _fits(facts.tag, found[1], before == found[0]):
                    return facts
                before = found[0] if whole else ""
                raise _Damaged
        raise self._error(
            StoreFailedError, "read", name, "its bytes are not those that were stored"
        )

    def remove(self, name: str) -> None:
        """Delete an object; that there is none is no error."""
        try:
            with self.errors("delete", name):
                self.filesystem.rm_file(self.path(name))
        except ObjectMissingError:
            pass

    @contextmanager
    def errors(self, verb: str, name: str = "") -> Iterator[None]:
        """Turn whatever a store's library raises in the block into one error.

        Args:
            verb: What was tried: ``"read"``.
            name: Of which object below the folder.

        Raises:
            ObjectMissingError: For a bucket or an object that is not there.
            ObjectExistsError: For an object that is there already.
            StoreFailedError: For everything else.
        """
        try:
            yield
        except _Damaged:
            pass
        except ObjectStoreError:
            raise
        except FileNotFoundError as err:
            why = "there is no such bucket or object; tlkit makes no buckets"
            raise self._error(ObjectMissingError, verb, name, why) from err
        except Exception as err:  # each store's library has errors of its own
            if isinstance(err, FileExistsError) or _lost_a_race(err):
                raise self._error(ObjectExistsError, verb, name, "it is there already") from err
            raise self._error(StoreFailedError, verb, name, _reason(err)) from err

    def _error(
        self, kind: type[ObjectStoreError], verb: str, name: str, why: str
    ) -> ObjectStoreError:
        url = join(self.url, name) if name else self.url
        end = "" if why.endswith("?") else "."
        return kind(f"Cannot {verb} {printable(url)}: {why}{end}")


class _Damaged(Exception):
    """What was fetched is not what was stored."""


def _options(protocol: str) -> dict[str, Any]:
    """Return options that bound how long a store may keep silent; none holds credentials."""
    if protocol in ("s3", "s3a"):
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return {
            # fsspec keeps one filesystem for each set of options.
            "endpoint_url": endpoint or None,
            "use_listings_cache": False,
            "config_kwargs": {
                "connect_timeout": CONNECT_SECONDS,
                "read_timeout": READ_SECONDS,
                "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
            },
        }
    if protocol in ("gs", "gcs"):
        return {"use_listings_cache": False, "timeout": READ_SECONDS}
    return {}


def _lost_a_race(err: Exception) -> bool:
    """Return whether S3 refused a conditional write because another one came first."""
    response = getattr(err.__cause__, "response", None) or getattr(err, "response", None) or {}
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return code in ("PreconditionFailed", "ConditionalRequestConflict")


def _mode(only_new: bool) -> dict[str, str]:
    return {"mode": "create"} if only_new else {}


def _stored(name: str, facts: dict[str, Any]) -> StoredObject:
    for key in ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "created"):
        if facts.get(key):
            return StoredObject(name, int(facts["size"]), str(facts[key]).strip('"'))
    return StoredObject(name, int(facts["size"]), "")


def _fits(tag: str, md5: str, seen_twice: bool) -> bool:
    return seen_twice or _MD5.fullmatch(tag) is None or tag == md5


def _digests(path: Path) -> tuple[str, str]:
    """Return a file's SHA-256 and MD5; the MD5 is no protection here, only an ETag."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            md5.update(block)
    return sha256.hexdigest(), md5.hexdigest()


def _reason(err: Exception) -> str:
    name = type(err).__name__
    if "Credential" in name or "NoAuth" in name:
        return (
            "there are no credentials. Set them in the environment, such as AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    text = without_secrets(" ".join(str(err).split())).rstrip(".")
    if isinstance(err, PermissionError):
        return (
            f"the store refuses it ({text or 'Forbidden'}). Are the credentials in the environment "
            f"right, and may they do this?"
        )
    if isinstance(err, TimeoutError) or "Timeout" in name:
        return f"the store does not answer in time ({name})"
    if "Connect" in name:
        return f"the store cannot be reached ({text}). Is AWS_ENDPOINT_URL right, and the network?"
    return f"{name}: {text}" if text else name


def without_secrets(text: str) -> str:
    """Return text with the values of environment variables that may be secrets replaced by ***."""
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= _LEAST_SECRET:
            text = text.replace(value, "***")
    return printable(text)
