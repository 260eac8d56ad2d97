"""Object stores: one error for each failure, atomic and checked transfers."""

from __future__ import annotations

import hashlib
import pickle
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.s3_server import ACCESS_KEY, SECRET_KEY
from tlkit import object_store
from tlkit.errors import (
    ObjectExistsError,
    ObjectMissingError,
    ObjectStoreError,
    StoreFailedError,
)
from tlkit.object_store import ObjectStore
from tlkit.store_urls import join, local_path


def test_objects_are_written_listed_read_and_deleted(s3):
    store = ObjectStore(join(s3.url, "folder"))
    assert store.contents() == {}
    assert store.find("a.txt") is None
    store.write("a.txt", b"hello")
    store.write("deep/er/b.txt", b"")
    s3.put("folder/deep/", b"")  # what a console leaves for a folder
    s3.put("folder-next-to-it/c.txt", b"c")
    listing = store.contents()
    assert {name: item.size for name, item in listing.items()} == {"a.txt": 5, "deep/er/b.txt": 0}
    assert listing["a.txt"] == store.find("a.txt")
    assert listing["a.txt"].tag == hashlib.md5(b"hello").hexdigest()
    assert store.folders() == ["deep"]
    assert store.read("a.txt") == s3.get("folder/a.txt") == b"hello"
    assert store.read("a.txt", 1, 3) == b"el"
    assert ObjectStore(join(s3.url, "folder/a.txt")).read() == b"hello"
    assert store.find("deep") is None
    store.remove("a.txt")
    store.remove("a.txt")
    assert list(store.contents()) == ["deep/er/b.txt"]
    with pytest.raises(ObjectMissingError, match=r"Cannot read s3://.*/folder/a\.txt: there is no"):
        store.read("a.txt")


def test_a_listing_is_never_an_old_one(s3):
    store = ObjectStore(s3.url)
    assert store.contents() == {}
    s3.put("x", b"1")
    assert store.contents()["x"].size == 1
    s3.put("x", b"22")
    assert store.contents()["x"].size == 2
    assert store.find("x").size == 2


@pytest.mark.parametrize("size", [0, 1000, 120_000_000])
def test_a_file_goes_up_and_comes_back_the_same(s3, tmp_path, size):
    store = ObjectStore(s3.url)
    source = tmp_path / "source"
    source.write_bytes(bytes(range(250)) * (size // 250))
    store.upload(source, "x/large")
    facts = store.download("x/large", tmp_path / "new" / "target")
    assert facts == store.find("x/large")
    assert (tmp_path / "new" / "target").read_bytes() == source.read_bytes()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["target"]


def test_other_bytes_than_were_stored_never_become_a_file(s3, tmp_path, monkeypatch):
    store = ObjectStore(s3.url)
    store.write("x", b"right")
    with pytest.raises(StoreFailedError, match="not those that were stored"):
        store.download("x", tmp_path / "x", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []

    turns = iter([b"wrong", b"right"])
    monkeypatch.setattr(
        store.filesystem, "get_file", lambda path, target: Path(target).write_bytes(next(turns))
    )
    store.download("x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"right"
    turns = iter([b"wrong", b"worse"])
    with pytest.raises(StoreFailedError):
        store.download("x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"right"
    turns = iter([b"cut", b"cut"])
    with pytest.raises(StoreFailedError):
        store.download("x", tmp_path / "x")


def test_an_etag_that_is_no_md5_stops_nothing(s3, tmp_path, monkeypatch):
    # Buckets encrypted by a key of the user's have such.
    store = ObjectStore(s3.url)
    store.write("x", b"right")
    facts = object_store.StoredObject("x", 5, "0123456789abcdef" * 2)
    monkeypatch.setattr(store, "find", lambda name: facts)
    store.download("x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"right"


def test_of_many_writers_of_a_new_object_one_wins(s3):
    store = ObjectStore(s3.url)

    def claim(number: int) -> bool:
        try:
            store.write("claim", b"%d" % number, only_new=True)
        except ObjectExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(claim, range(8)))
    assert sum(won) == 1
    assert store.read("claim") == b"%d" % won.index(True)


def test_an_upload_replaces_nothing_where_only_new(s3, tmp_path):
    store = ObjectStore(s3.url)
    (tmp_path / "x").write_bytes(b"second")
    store.write("x", b"first")
    with pytest.raises(ObjectExistsError, match="it is there already"):
        store.upload(tmp_path / "x", "x", only_new=True)
    assert store.read("x") == b"first"


def test_a_missing_bucket_is_an_error(s3):
    for call in ("contents", "folders", "read"):
        with pytest.raises(ObjectMissingError, match="no such bucket"):
            getattr(ObjectStore("s3://no-such-bucket-here/x"), call)()
    with pytest.raises(ObjectMissingError, match="no such bucket"):
        ObjectStore("s3://no-such-bucket-here/x").write("a", b"")


def test_a_store_that_cannot_be_reached_is_an_error(s3, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setattr(object_store, "ATTEMPTS", 1)
    with pytest.raises(StoreFailedError, match=r"cannot be reached .*the network\?$"):
        ObjectStore(s3.url).contents()


def test_a_store_that_keeps_silent_is_an_error(s3, monkeypatch):
    monkeypatch.setattr(object_store, "ATTEMPTS", 1)
    monkeypatch.setattr(object_store, "READ_SECONDS", 0.1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(StoreFailedError, match="does not answer in time"):
            ObjectStore(s3.url).contents()


def test_missing_credentials_are_an_error_that_says_where_they_go(s3, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setattr(object_store, "CONNECT_SECONDS", 9.0)  # a filesystem that saw no other
    with pytest.raises(StoreFailedError, match=r"no credentials.*AWS_ACCESS_KEY_ID"):
        ObjectStore(s3.url).contents()


def test_what_a_library_raises_is_told_without_secrets(s3, monkeypatch):
    store = ObjectStore(s3.url)

    def refuse(*_, **__):
        raise PermissionError(f"key {ACCESS_KEY} with {SECRET_KEY} is not allowed")

    monkeypatch.setattr(store.filesystem, "cat_file", refuse)
    with pytest.raises(StoreFailedError, match="the store refuses it") as caught:
        store.read("x")
    assert ACCESS_KEY not in str(caught.value)
    assert SECRET_KEY not in str(caught.value)


def test_a_store_is_pickled_by_its_url_alone(s3):
    store = ObjectStore(s3.url)
    store.write("x", b"x")
    data = pickle.dumps(store)
    assert ACCESS_KEY.encode() not in data
    assert SECRET_KEY.encode() not in data
    assert pickle.loads(data).read("x") == b"x"
    assert SECRET_KEY.encode() not in pickle.dumps(store.filesystem)


def test_another_protocol_keeps_the_same_promises(tmp_path):
    store = ObjectStore("memory://bucket/folder")
    store.write("a/b", b"x")
    with pytest.raises(ObjectExistsError):
        store.write("a/b", b"y", only_new=True)
    assert list(store.contents()) == ["a/b"]
    assert store.folders() == ["a"]
    store.download("a/b", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"x"
    store.remove("a/b")
    assert store.find("a/b") is None


def test_a_hostile_name_in_a_real_listing_is_told_as_it_is(s3, tmp_path):
    for key in ("runs/../../escaped", "runs/..", "runs/ok"):
        s3.put(key, b"x")
    names = list(ObjectStore(join(s3.url, "runs")).contents())
    assert "ok" in names
    for name in set(names) - {"ok"}:
        with pytest.raises(ObjectStoreError):
            local_path(tmp_path, name)
