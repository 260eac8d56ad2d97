"""Files in object stores, read where they lie."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.s3_server import ACCESS_KEY, SECRET_KEY
from tlkit import stored_path
from tlkit.errors import DataError, ObjectMissingError, StoreFailedError
from tlkit.object_store import ObjectStore
from tlkit.stored_path import StoredPath, open_place

NAMES = ("set/a/1.png", "set/a/deep/2.png", "set/a.txt", "set/b/3.png", "set-next/4.png")


@pytest.fixture
def root(s3):
    for name in NAMES:
        s3.put(name, name.encode())
    return open_place(f"{s3.url}/set/")


def test_a_path_stays_a_path(tmp_path):
    assert open_place(tmp_path) == tmp_path


def test_folders_and_files_are_those_of_a_local_copy(root, tmp_path):
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    local = tmp_path / "set"

    def shape(path):
        kinds = (path.name, path.is_dir(), path.is_file())
        return kinds, [shape(child) for child in sorted(path.iterdir())] if path.is_dir() else None

    assert shape(root) == shape(local)
    found = [file.relative_to(root).as_posix() for file in sorted(root.files())]
    paths = sorted(path for path in local.rglob("*") if path.is_file())
    assert found == [path.relative_to(local).as_posix() for path in paths]
    assert (root / "a" / "1.png").read_bytes() == b"set/a/1.png"
    assert not (root / "nothing").is_file()
    assert not (root / "nothing").is_dir()
    assert list((root / "nothing").iterdir()) == []


def test_what_leads_out_is_not_below(root):
    assert (root / "a/../b/3.png").is_file()
    assert (root / "a/../b/3.png").is_below(root)
    for text in ("../set-next/4.png", "/etc/passwd", "a/../../x", ".."):
        assert not (root / text).is_below(root)
        assert not (root / text).is_file()


def test_files_that_were_read_lately_are_kept_within_bounds(root, reads, monkeypatch):
    first, second = root / "a/1.png", root / "b/3.png"
    for _ in range(3):
        assert first.read_bytes() == b"set/a/1.png"
    assert reads == ["a/1.png"]
    monkeypatch.setattr(stored_path, "MOST_BYTES_KEPT", len("set/a/1.png"))
    for _ in range(2):
        first.read_bytes()
        second.read_bytes()
    assert reads == ["a/1.png", "b/3.png", "a/1.png", "b/3.png"]
    monkeypatch.setattr(stored_path, "MOST_BYTES_KEPT", 3)
    second.read_bytes()
    (root / "a.txt").read_bytes()
    (root / "a.txt").read_bytes()
    assert reads[4:] == ["a.txt", "a.txt"]


def test_a_file_is_pickled_alone_and_without_credentials(root, reads):
    file = root / "a/1.png"
    data = pickle.dumps(file)
    assert b"3.png" not in data
    assert ACCESS_KEY.encode() not in data
    assert SECRET_KEY.encode() not in data
    again = pickle.loads(data)
    assert again == file
    assert again.read_bytes() == b"set/a/1.png"
    folder = pickle.loads(pickle.dumps(root))
    assert [path.name for path in sorted(folder.iterdir())] == ["a", "a.txt", "b"]


def test_one_object_is_a_file(s3):
    s3.put("table.csv", b"x")
    file = open_place(f"{s3.url}/table.csv")
    assert file.is_file()
    assert str(file) == f"{s3.url}/table.csv"
    assert file.read_bytes() == b"x"


def test_nothing_at_a_url_is_nothing(s3):
    place = open_place(f"{s3.url}/nothing")
    assert not place.is_dir()
    assert not place.is_file()
    with pytest.raises(ObjectMissingError):
        open_place("s3://no-such-bucket-here/x")


def test_what_was_changed_meanwhile_is_an_error(root, s3, reads):
    s3.put("set/a/1.png", b"other")
    with pytest.raises(DataError, match="was replaced while it was in use"):
        (root / "a/1.png").read_bytes()
    s3.client.delete_object(Bucket=s3.name, Key="set/a/1.png")
    with pytest.raises(DataError, match="was deleted while it was in use"):
        (root / "a/1.png").read_bytes()


def test_many_threads_read_at_once(root):
    files = list(root.files()) * 20
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(StoredPath.read_bytes, files))
    assert found == [b"set/" + file.relative_to(root).as_posix().encode() for file in files]


def test_a_store_that_fails_makes_no_picture_a_broken_one(s3, monkeypatch, tmp_path):
    from tlkit import Registry

    for number in range(2):
        s3.put(f"set/{number}/x.png", b"no picture")

    def fail(self, *args):
        raise StoreFailedError("it is down")

    monkeypatch.setattr(ObjectStore, "read", fail)
    source = Registry(entry_points=False).create(
        "dataset", "folder", "test", path=f"{s3.url}/set", broken="skip"
    )
    with pytest.raises(StoreFailedError, match="it is down"):
        source.load(0)
