"""Claims: which machine a run folder in an object store belongs to while a run works in it."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tlkit.atomic import atomic_write_text
from tlkit.errors import ObjectExistsError, ObjectMissingError, RunFolderError
from tlkit.object_store import ObjectStore
from tlkit.paths import stores_folder
from tlkit.text import printable

CLAIMS = ".tlkit-claim"
# An owner renews its claim so often; where it did not for so long, it is taken for dead.
RENEW_SECONDS, LEASE_SECONDS = 10.0, 45.0
_POLL_SECONDS = 1.0


@dataclass
class Claim:
    """A run folder that this process owns.

    Claims are numbered. To take a folder over is to write the next number, which of several
    machines one can: an object that must not exist yet is written in one step at the store. An
    owner that sees a higher number than its own has lost the folder and writes no more.

    Attributes:
        store: The run folder.
        number: The claim's number, from 1.
    """

    store: ObjectStore
    number: int
    _renewals: int = field(default=0)

    @property
    def name(self) -> str:
        """The name of the claim's object."""
        return f"{CLAIMS}/{self.number:06d}"

    def renew(self) -> bool:
        """Say that the owner is alive; return whether it is still the owner.

        Raises:
            ObjectStoreError: If the store does not answer.
        """
        if _newest(self.store) > self.number:
            return False
        self._renewals += 1
        self.store.write(self.name, _content(self._renewals))
        return True

    def release(self) -> None:
        """Give the folder back.

        Raises:
            ObjectStoreError: If the store does not answer; the claim ends by itself then.
        """
        for number in range(self.number, 0, -1):
            name = f"{CLAIMS}/{number:06d}"
            if number != self.number and self.store.find(name) is None:
                break
            self.store.remove(name)


def claim_new(store: ObjectStore) -> Claim | None:
    """Claim a run folder that must not exist yet.

    Returns:
        The claim; None if the folder is another run's.

    Raises:
        ObjectStoreError: If the store does not answer.
    """
    if store.contents():
        return None
    claim = Claim(store, 1)
    try:
        store.write(claim.name, _content(0), only_new=True)
    except ObjectExistsError:
        return None
    return claim


def take_over(store: ObjectStore, say: Callable[[str], None]) -> Claim:
    """Claim the folder of an unfinished run, where no other process works in it.

    An owner on another machine is watched for ``LEASE_SECONDS``, unless it gave the folder back.

    Args:
        store: The run folder.
        say: Told that this takes time.

    Raises:
        RunFolderError: If a run is at work in it, or another process took it over just now.
        ObjectStoreError: If the store does not answer.
    """
    number = _newest(store)
    # What this machine's own processes do, the lock in the copy's folder says.
    if number and _machine(store, number) != machine():
        _watch(store, number, say)
    claim = Claim(store, number + 1)
    try:
        store.write(claim.name, _content(0), only_new=True)
    except ObjectExistsError:
        raise _at_work(store) from None
    return claim


def _watch(store: ObjectStore, number: int, say: Callable[[str], None]) -> None:
    """Wait until a claim is over.

    Raises:
        RunFolderError: If it is renewed.
    """
    before = _read(store, number)
    if before is None:
        return
    say(
        f"Was the run stopped? Watching {store.url} for {LEASE_SECONDS:.0f} seconds, whether "
        f"another machine works in it."
    )
    until = time.monotonic() + LEASE_SECONDS
    while time.monotonic() < until:
        time.sleep(min(_POLL_SECONDS, LEASE_SECONDS / 4))
        now = _read(store, number)
        if now is None:
            return
        if now != before or _newest(store) > number:
            raise _at_work(store)


def _at_work(store: ObjectStore) -> RunFolderError:
    return RunFolderError(
        f"A run is at work in {printable(store.url)}, on another machine. Wait for its end, or "
        f"stop it first."
    )


def _newest(store: ObjectStore) -> int:
    names = ObjectStore(f"{store.url}/{CLAIMS}").contents()
    return max((int(name) for name in names if name.isdecimal()), default=0)


def _read(store: ObjectStore, number: int) -> bytes | None:
    try:
        return store.read(f"{CLAIMS}/{number:06d}")
    except ObjectMissingError:
        return None


def _machine(store: ObjectStore, number: int) -> str | None:
    try:
        return str(json.loads(_read(store, number) or b"")["machine"])
    except (ValueError, TypeError, KeyError):
        return None


def _content(renewals: int) -> bytes:
    facts = {"machine": machine(), "process": os.getpid(), "renewals": renewals}
    return json.dumps(facts).encode()


def machine() -> str:
    """Return what this cache folder's machine calls itself: random, and the same each time."""
    path: Path = stores_folder() / ".machine"
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, secrets.token_hex(8))
        return path.read_text(encoding="ascii")
