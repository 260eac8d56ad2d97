"""A run at a URL: it works in a copy in the cache folder, which is uploaded as it grows."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tlkit import run_folder
from tlkit.errors import ObjectStoreError, StoreFailedError
from tlkit.interruption import command_line
from tlkit.mirror import (
    changed_files,
    delete,
    fetched,
    files_of,
    forget_fetched,
    set_at_work,
    upload,
    vanished_files,
)
from tlkit.object_store import ObjectStore
from tlkit.paths import stores_folder, url_of
from tlkit.run_claim import RENEW_SECONDS, Claim, claim_new, take_over
from tlkit.screen import GO_ON, say
from tlkit.store_urls import local_place
from tlkit.unfinished import find_unfinished, has_checkpoints

# After a change, an upload waits so long for more; after a failure, longer each time.
SECONDS_BETWEEN = 1.0
LONGEST_PAUSE = 60.0
LAST_ATTEMPTS = 3


class RunMirror:
    """Uploads a run folder from a thread, one state at a time; the newest wins.

    Attributes:
        folder: The copy that the run works in.
    """

    def __init__(self, folder: Path, claim: Claim, warnings: list[str]) -> None:
        """Begin to watch the folder.

        Args:
            folder: The copy that the run works in.
            claim: The folder at the URL, which this process owns.
            warnings: Told where the store does not answer, and where the folder is lost.
        """
        self.folder = folder
        self._claim, self._store, self._warnings = claim, claim.store, warnings
        self._end, self._lost = threading.Event(), False
        self._renewed = time.monotonic()
        self._thread = threading.Thread(target=self._watch, name="tlkit-upload", daemon=True)
        set_at_work(folder, True)
        self._thread.start()

    def end(self, attempts: int = LAST_ATTEMPTS) -> None:
        """Upload what is left, and give the folder at the URL back.

        Args:
            attempts: How often to try.

        Raises:
            StoreFailedError: If it cannot be uploaded; with the command that does it later.
        """
        self._end.set()
        self._thread.join()
        try:
            for attempt in range(1, attempts + 1):
                try:
                    self._upload()
                    break
                except ObjectStoreError as err:
                    if attempt == attempts:
                        raise self._not_uploaded(err) from err
                    time.sleep(min(2.0**attempt, LONGEST_PAUSE))
            with suppress(ObjectStoreError):  # it ends by itself
                self._claim.release()
        finally:
            set_at_work(self.folder, False)

    def _not_uploaded(self, err: ObjectStoreError) -> StoreFailedError:
        finished = (self.folder / run_folder.RUN).is_file()
        state = "The run is finished" if finished else "The run did not finish"
        root = stores_folder()
        failed = StoreFailedError(
            f"{err} {state}; all of it is on this machine: below {root}, in "
            f"{self.folder.relative_to(root)}. Upload it when the store answers again."
        )
        failed.add_note(f"{GO_ON}{command_line(['resume', self._store.url])}")
        return failed

    def _watch(self) -> None:
        pause = SECONDS_BETWEEN
        while not self._end.wait(pause):
            begin = time.monotonic()
            try:
                self._renew()
                self._upload()
                # Where the network is slow, uploads take half of the time at most.
                pause = max(SECONDS_BETWEEN, time.monotonic() - begin)
            except ObjectStoreError as err:
                self._warn(f"{err} The run goes on, and this is tried again.")
                pause = min(2 * pause, LONGEST_PAUSE)

    def _renew(self) -> None:
        if not self._lost and time.monotonic() - self._renewed >= RENEW_SECONDS:
            self._lost = not self._claim.renew()
            self._renewed = time.monotonic()
            if self._lost:
                self._warn(f"Another machine took {self._store.url} over.")

    def _upload(self) -> None:
        if self._lost:
            raise StoreFailedError(f"Another machine took {self._store.url} over.")
        upload(self._store, self.folder, changed_files(files_of(self.folder)))
        # Last, so that a kill before it leaves a run that can be resumed.
        gone = vanished_files(self.folder)
        finished = (self.folder / run_folder.RUN).is_file()
        if finished or not self.folder.exists():
            delete(self._store, self.folder, gone)

    def _warn(self, message: str) -> None:
        if message not in self._warnings:
            self._warnings.append(message)


def create(runs: Path, name: str) -> tuple[Path, Claim | None]:
    """Make a new run folder; at a URL, one that no other machine makes.

    Args:
        runs: Where run folders are made; perhaps the copy of what lies at a URL.
        name: The run's name.

    Returns:
        The folder, and the claim on it where it is a copy.

    Raises:
        RunFolderError: If it cannot be made.
        ObjectStoreError: If the store does not answer.
    """
    taken: list[Path] = []
    try:
        while True:
            folder = run_folder.create(runs, name)
            url = url_of(folder)
            if url is None:
                return folder, None
            taken.append(folder)
            claim = claim_new(ObjectStore(url))
            if claim is not None:
                taken.remove(folder)
                return folder, claim
    finally:
        for folder in taken:  # theirs are elsewhere
            folder.rmdir()


@contextmanager
def mirrored(folder: Path, claim: Claim | None, warnings: list[str]) -> Iterator[None]:
    """Upload a run folder while the block works in it, and what is left at its end.

    Args:
        folder: The folder.
        claim: The claim on it; None for one that is no copy.
        warnings: Told where the store does not answer.

    Raises:
        StoreFailedError: If the end cannot be uploaded; where the block raises, it is a note to
            that.
    """
    if claim is None:
        yield
        return
    mirror = RunMirror(folder, claim, warnings)
    try:
        yield
    except BaseException as err:
        try:
            mirror.end(attempts=1)
        except ObjectStoreError as failed:
            err.add_note(str(failed))
        raise
    mirror.end()


@contextmanager
def taken_over(folder: Path) -> Iterator[Claim | None]:
    """Claim the folder of an unfinished run, and bring its copy up to date.

    Args:
        folder: The folder; perhaps the copy of what lies at a URL.

    Yields:
        The claim; None where it is no copy.

    Raises:
        RunFolderError: If the run is finished, none was begun, or one is at work.
        ObjectStoreError: If the store does not answer.
    """
    url = url_of(folder)
    if url is None:
        yield None
        return
    fetched(folder)
    find_unfinished(folder)
    with _held(folder, url) as claim:
        forget_fetched()  # whoever had it before may have gone on until now
        fetched(folder)
        yield claim


@contextmanager
def _held(folder: Path, url: str) -> Iterator[Claim]:
    if has_checkpoints(folder):
        with run_folder.own(folder, patience=0):
            pass
    claim = take_over(ObjectStore(url), say)
    try:
        yield claim
    finally:
        with suppress(ObjectStoreError):
            claim.release()


def finish_upload(folder: Path | str) -> Path | None:
    """Upload a run that finished when its store did not answer.

    Args:
        folder: The run folder or its URL.

    Returns:
        The copy; None if this machine has no run of which the store lacks the end.

    Raises:
        ObjectStoreError: If the store does not answer now.
    """
    place = local_place(folder)
    url = url_of(place)
    if url is None or not (place / run_folder.RUN).is_file():
        return None
    store = ObjectStore(url)
    if store.find(run_folder.RUN) is not None or store.find(run_folder.CONFIG) is None:
        return None
    with _held(place, url) as claim, mirrored(place, claim, []):
        pass
    return place
