"""Copies of what lies in object stores, kept in the cache folder and brought back there."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tlkit.atomic import UNFINISHED, atomic_write_text
from tlkit.errors import ObjectMissingError, ObjectStoreError
from tlkit.object_store import ObjectStore, StoredObject
from tlkit.paths import stores_folder, url_of
from tlkit.store_urls import local_path, local_place

# Within so many seconds what was fetched is not asked for again: a command reads a run many times.
FRESH_SECONDS = 2.0
TRANSFERS = 8
# A run is finished once this is there, so it goes last.
LAST = "run.json"
_KNOWN = ".known"
_OWN = (UNFINISHED, ".tlkit-claim")

Chosen = Callable[[str], bool]

_fetched: dict[tuple[Path, Chosen | None], float] = {}
_at_work: set[Path] = set()
_lock = threading.Lock()


@dataclass(frozen=True)
class _Known:
    """How an object and its copy were when they were last the same."""

    tag: str
    size: int
    changed: int


def fetched(path: Path | str, chosen: Chosen | None = None) -> Path:
    """Return a local path; for a URL that of a copy, brought up to date.

    Only objects that are new or changed are fetched, each checked. Where both an object and its
    copy were changed, the object is taken. A file that is no object yet stays, and so does one that
    was changed here alone: ``put_back()`` brings it there.

    Args:
        path: A path, or the URL of a folder or of an object.
        chosen: Which objects to fetch, by their names below the URL; by default all.

    Raises:
        ObjectStoreError: If it cannot be fetched, or an object's name cannot be that of a file.
        PluginError: If the package for the URL's protocol is not installed.
    """
    place = local_place(path)
    url = url_of(place)
    if url is None or is_at_work(place):
        return place
    key = (place, chosen)
    if time.monotonic() - _fetched.get(key, float("-inf")) >= FRESH_SECONDS:
        _fetch(ObjectStore(url), place, chosen)
        _fetched[key] = time.monotonic()
    return place


def forget_fetched() -> None:
    """Ask the stores again, however fresh what was fetched is."""
    _fetched.clear()


def _fetch(store: ObjectStore, place: Path, chosen: Chosen | None) -> None:
    found = store.contents()
    if not found and (single := store.find()) is not None:
        _fetch_one(store, single, place)
        return
    wanted = [
        (item, local_path(place, name))
        for name, item in found.items()
        if not name.startswith(_OWN) and (chosen is None or chosen(name))
    ]
    with ThreadPoolExecutor(TRANSFERS) as pool:
        tasks = [pool.submit(_fetch_one, store, item, target) for item, target in wanted]
        try:
            for task in tasks:
                task.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    # What was deleted there, such as the checkpoints of a run that another machine finished.
    for file in files_of(place):
        if file.relative_to(place).as_posix() not in found and _known(file) is not None:
            file.unlink(missing_ok=True)
            _forget(file)


def _fetch_one(store: ObjectStore, item: StoredObject, target: Path) -> None:
    known = _known(target)
    if target.is_file() and known is not None and (item.tag, item.size) == (known.tag, known.size):
        return
    try:
        facts = store.download(item.name, target)
    except ObjectMissingError:
        return  # deleted since the listing
    except OSError as err:
        raise ObjectStoreError(
            f"Cannot keep a copy of {store.url}/{item.name} in {target.parent}: "
            f"{err.strerror or err}. TLKIT_CACHE leads to another cache folder."
        ) from err
    _note(target, facts)


def put_back(*paths: Path) -> None:
    """Bring files that were written into copies to the object store; other paths are left alone.

    Args:
        paths: Files and folders. Files that are as they were when they were fetched stay.

    Raises:
        ObjectStoreError: If an object cannot be written.
    """
    for path in paths:
        place = path.absolute()
        url = url_of(place)
        if url is None or is_at_work(place) or not place.exists():
            continue
        # A file's name may be its own URL's last part, so both are told from the folder above.
        store = ObjectStore(url.rpartition("/")[0] if place.is_file() else url)
        folder = place.parent if place.is_file() else place
        upload(store, folder, changed_files([place] if place.is_file() else files_of(place)))


def changed_files(files: Iterable[Path]) -> list[Path]:
    """Return files that are not as they were when they were last fetched or uploaded.

    In the order in which they were written, but for the one that marks a run as finished: so a kill
    leaves in the store a state that there was.
    """
    found = []
    for file in files:
        with suppress(OSError):
            status, known = file.stat(), _known(file)
            if known is None or (status.st_mtime_ns, status.st_size) != (known.changed, known.size):
                found.append((file.name == LAST, status.st_mtime_ns, file))
    return [file for _, _, file in sorted(found)]


def upload(store: ObjectStore, folder: Path, files: Iterable[Path]) -> None:
    """Upload files of a folder, one after the other; those that have vanished are left out.

    Args:
        store: Where the folder lies.
        folder: Its copy.
        files: Files in it.

    Raises:
        ObjectStoreError: If one cannot be written; the ones before are there then.
    """
    for file in files:
        name = file.relative_to(folder).as_posix()
        try:
            status = file.stat()
            store.upload(file, name)
        except (FileNotFoundError, ObjectMissingError):
            if file.exists():
                raise
            continue
        facts = store.find(name)
        if facts is not None:
            _note(file, facts, status.st_mtime_ns)


def delete(store: ObjectStore, folder: Path, files: Iterable[Path]) -> None:
    """Delete objects whose files are gone."""
    for file in files:
        store.remove(file.relative_to(folder).as_posix())
        _forget(file)


def vanished_files(folder: Path) -> list[Path]:
    """Return files below a copy's folder that are objects, and have no copy any more."""
    known = _known_path(folder)
    found = []
    for path in sorted(known.rglob("f*")):
        parts = [part[1:] for part in path.relative_to(known).parts]
        if path.is_file() and not (file := folder.joinpath(*parts)).exists():
            found.append(file)
    return found


def files_of(folder: Path) -> list[Path]:
    """Return the files below a folder that are for its URL too: no locks, nothing unfinished."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(_OWN) and path.name != "lock"
    ]


def is_at_work(place: Path) -> bool:
    """Return whether this process writes a copy that is brought to its store as it grows."""
    with _lock:
        return any(place.is_relative_to(folder) for folder in _at_work)


def set_at_work(folder: Path, value: bool) -> None:
    """Note that this process writes a copy, which is ahead of its store until it is done."""
    with _lock:
        (_at_work.add if value else _at_work.discard)(folder)


def _known_path(folder: Path) -> Path:
    root = stores_folder()
    # A letter before each name keeps the record of a file "x" apart from a folder "x".
    return root.joinpath(_KNOWN, *(f"d{part}" for part in folder.relative_to(root).parts))


def _known_file(file: Path) -> Path:
    return _known_path(file.parent) / f"f{file.name}"


def _known(file: Path) -> _Known | None:
    try:
        return _Known(**json.loads(_known_file(file).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _note(file: Path, facts: StoredObject, changed: int | None = None) -> None:
    if changed is None:
        changed = file.stat().st_mtime_ns
    path = _known_file(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, json.dumps(asdict(_Known(facts.tag, facts.size, changed))))


def _forget(file: Path) -> None:
    _known_file(file).unlink(missing_ok=True)
