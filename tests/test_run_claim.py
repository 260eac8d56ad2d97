"""Claims: of several machines one works in a run folder."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tlkit import run_claim
from tlkit.errors import RunFolderError
from tlkit.object_store import ObjectStore
from tlkit.run_claim import claim_new, machine, take_over


@pytest.fixture
def store(s3):
    return ObjectStore(f"{s3.url}/runs/a")


@pytest.fixture
def other_machine(monkeypatch):
    """Lets this process be another machine from here on."""

    def become(name="another"):
        monkeypatch.setattr(run_claim, "machine", lambda: name)

    return become


def no_word(text):
    raise AssertionError(text)


def test_a_machine_is_called_the_same_each_time():
    assert machine() == machine()
    assert len(machine()) == 16


def test_of_many_machines_one_makes_a_folder(store):
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: claim_new(store), range(6)))
    assert sum(claim is not None for claim in found) == 1


def test_a_folder_that_holds_anything_is_not_new(store):
    store.write("config.toml", b"")
    assert claim_new(store) is None


def test_what_was_given_back_is_taken_at_once(store, other_machine):
    claim_new(store).release()
    assert store.contents() == {}
    other_machine()
    claim = take_over(store, no_word)
    assert claim.number == 1
    assert claim.renew()


def test_the_same_machine_takes_over_at_once(store):
    claim_new(store)
    claim = take_over(store, no_word)
    assert claim.number == 2
    claim.release()
    assert store.contents() == {}


def test_another_machine_waits_for_the_dead_one(store, other_machine, monkeypatch):
    first = claim_new(store)
    other_machine()
    monkeypatch.setattr(run_claim, "LEASE_SECONDS", 0.2)
    said = []
    claim = take_over(store, said.append)
    assert claim.number == 2
    assert said == [
        f"Was the run stopped? Watching {store.url} for 0 seconds, whether another machine works "
        f"in it."
    ]
    assert not first.renew()  # it wakes up, and has lost the folder
    assert claim.renew()


def test_another_machine_is_refused_while_the_owner_lives(store, other_machine, monkeypatch):
    claim = claim_new(store)
    other_machine()
    monkeypatch.setattr(run_claim, "LEASE_SECONDS", 20.0)
    timer = threading.Timer(0.3, claim.renew)
    timer.start()
    with pytest.raises(RunFolderError, match=r"at work in s3://.*/runs/a, on another machine"):
        take_over(store, lambda text: None)
    timer.join()


def test_one_that_gives_back_while_it_is_watched_is_followed_at_once(
    store, other_machine, monkeypatch
):
    claim = claim_new(store)
    other_machine()
    monkeypatch.setattr(run_claim, "LEASE_SECONDS", 20.0)
    timer = threading.Timer(0.3, claim.release)
    timer.start()
    assert take_over(store, lambda text: None).renew()
    timer.join()


def test_of_many_that_take_over_one_wins(store):
    claim_new(store)

    def try_it(_):
        try:
            return take_over(store, no_word)
        except RunFolderError as err:
            return str(err)

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(try_it, range(6)))
    # Some may have come after another had won, and taken over from that one.
    alive = [claim for claim in found if not isinstance(claim, str) and claim.renew()]
    assert len(alive) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff"])
def test_a_damaged_claim_is_watched_as_anothers(store, monkeypatch, content):
    store.write(".tlkit-claim/000001", content)
    store.write(".tlkit-claim/strange", content)
    monkeypatch.setattr(run_claim, "LEASE_SECONDS", 0.1)
    said = []
    assert take_over(store, said.append).number == 2
    assert said
