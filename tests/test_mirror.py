"""Copies of what lies in object stores: only changes travel, and nothing lands elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tlkit import mirror
from tlkit.errors import ObjectStoreError, RunFolderError, StoreFailedError
from tlkit.mirror import changed_files, fetched, files_of, put_back, vanished_files
from tlkit.object_store import ObjectStore
from tlkit.paths import stores_folder, url_of, with_urls
from tlkit.store_urls import local_place


@pytest.fixture(autouse=True)
def _never_fresh(monkeypatch):
    monkeypatch.setattr(mirror, "FRESH_SECONDS", 0.0)


@pytest.fixture
def downloads(monkeypatch):
    """The names of objects that were downloaded."""
    names = []
    real = ObjectStore.download

    def download(self, name, *args, **kwargs):
        names.append(name)
        return real(self, name, *args, **kwargs)

    monkeypatch.setattr(ObjectStore, "download", download)
    return names


def test_a_local_path_stays_and_asks_no_store(tmp_path):
    assert fetched(tmp_path) == tmp_path
    assert fetched("~/x") == Path("~/x").expanduser()
    put_back(tmp_path)


def test_a_place_says_its_url(monkeypatch):
    place = local_place("s3://bucket/runs/a")
    assert place == stores_folder() / "s3" / "bucket" / "runs" / "a"
    assert url_of(place) == "s3://bucket/runs/a"
    # What typer and others make of a URL.
    assert local_place(Path("s3://bucket/runs/a")) == place
    assert local_place(Path("C:/runs")) == Path("C:/runs")
    assert url_of(stores_folder()) is None
    assert url_of(stores_folder() / "s3") is None
    assert with_urls(f"see {place}/x, {place}") == "see s3://bucket/runs/a/x, s3://bucket/runs/a"
    assert str(RunFolderError(f"no {place}")) == "no s3://bucket/runs/a"
    assert with_urls("a/stores/b") == "a/stores/b"


def test_a_url_with_credentials_makes_no_folder(tmp_path):
    with pytest.raises(ObjectStoreError, match="credentials"):
        fetched("s3://user:password@bucket/x")
    assert not stores_folder().exists()


def test_only_what_changed_is_fetched(s3, downloads):
    s3.put("a/one", b"1")
    s3.put("a/deep/two", b"2")
    place = fetched(f"{s3.url}/a")
    assert (place / "deep" / "two").read_bytes() == b"2"
    assert sorted(downloads) == ["deep/two", "one"]
    fetched(f"{s3.url}/a")
    fetched(f"{s3.url}/a/deep")
    assert len(downloads) == 2
    s3.put("a/one", b"x")  # as long as before
    s3.client.delete_object(Bucket=s3.name, Key="a/deep/two")
    fetched(f"{s3.url}/a")
    assert downloads[2:] == ["one"]
    assert [path.name for path in files_of(place)] == ["one"]
    assert (place / "one").read_bytes() == b"x"


def test_a_url_of_one_object_is_a_file(s3):
    s3.put("tables/a.csv", b"x,y")
    assert fetched(f"{s3.url}/tables/a.csv").read_bytes() == b"x,y"


def test_chosen_objects_alone_are_fetched(s3, downloads):
    for name in ("run.json", "model.keras"):
        s3.put(f"a/{name}", b"x")
    place = fetched(f"{s3.url}/a", lambda name: name == "run.json")
    assert downloads == ["run.json"]
    assert not (place / "model.keras").exists()


def test_a_file_that_was_lost_here_is_fetched_again(s3):
    s3.put("a/one", b"1")
    place = fetched(f"{s3.url}/a")
    (place / "one").unlink()
    assert vanished_files(place) == [place / "one"]
    fetched(f"{s3.url}/a")
    assert (place / "one").read_bytes() == b"1"
    assert vanished_files(place) == []
    put_back(place)
    assert s3.keys() == ["a/one"]


def test_what_was_written_here_is_put_back_and_nothing_else(s3, downloads):
    s3.put("a/one", b"1")
    place = fetched(f"{s3.url}/a")
    (place / "report.html").write_text("<p>")
    (place / "deep").mkdir()
    (place / "deep" / "x").write_text("x")
    (place / ".tlkit-unfinished-0").write_text("torn")
    fetched(f"{s3.url}/a")  # what is new here stays
    put_back(place / "report.html")
    assert s3.keys() == ["a/one", "a/report.html"]
    before = s3.client.head_object(Bucket=s3.name, Key="a/one")["LastModified"]
    put_back(place)
    assert s3.keys() == ["a/deep/x", "a/one", "a/report.html"]
    assert s3.client.head_object(Bucket=s3.name, Key="a/one")["LastModified"] == before
    fetched(f"{s3.url}/a")
    assert downloads == ["one"]


def test_where_both_changed_the_object_is_taken(s3):
    s3.put("a/one", b"1")
    place = fetched(f"{s3.url}/a")
    (place / "one").write_bytes(b"here")
    fetched(f"{s3.url}/a")
    assert (place / "one").read_bytes() == b"here"
    s3.put("a/one", b"there")
    fetched(f"{s3.url}/a")
    assert (place / "one").read_bytes() == b"there"


def test_the_mark_of_a_finished_run_goes_last(tmp_path):
    place = local_place("s3://bucket/a")
    place.mkdir(parents=True)
    for number, name in enumerate(("run.json", "z", "b")):
        (place / name).write_text(name)
        os.utime(place / name, (number, number))
    assert [path.name for path in changed_files(files_of(place))] == ["z", "b", "run.json"]


def test_an_upload_that_fails_leaves_the_mark_out_and_can_be_repeated(s3, monkeypatch):
    place = fetched(f"{s3.url}/a")
    place.mkdir(parents=True, exist_ok=True)
    for name in ("a", "run.json"):
        (place / name).write_text(name)

    def refuse(self, *args, **kwargs):
        raise StoreFailedError("no")

    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "upload", refuse)
        with pytest.raises(StoreFailedError):
            put_back(place)
    assert s3.keys() == []
    put_back(place)
    assert s3.keys() == ["a/a", "a/run.json"]


@pytest.mark.parametrize("key", ["a/../../../escaped", "a/..", "a/b\\..\\c", "a//etc/passwd"])
def test_a_hostile_object_writes_nothing_anywhere(s3, key, tmp_path):
    s3.put(key, b"hostile")
    s3.put("a/run.json", b"{}")
    with pytest.raises(ObjectStoreError, match="cannot be kept as a file"):
        fetched(f"{s3.url}/a")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_object_that_is_also_a_folder_is_one_error(s3):
    s3.put("a/x", b"file")
    s3.put("a/x/y", b"below it")
    with pytest.raises(ObjectStoreError):
        fetched(f"{s3.url}/a")


def test_a_name_as_long_as_is_allowed_is_kept(s3):
    s3.put(f"a/{'x' * 240}", b"long")
    place = fetched(f"{s3.url}/a")
    assert (place / ("x" * 240)).read_bytes() == b"long"
    s3.put("a/x.json/y", b"1")
    s3.put("a/x", b"2")
    assert (fetched(f"{s3.url}/a") / "x.json" / "y").read_bytes() == b"1"


def test_a_cache_folder_that_cannot_be_written_is_one_error(s3, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "file"))
    s3.put("a/one", b"1")
    with pytest.raises(ObjectStoreError, match="TLKIT_CACHE leads to another"):
        fetched(f"{s3.url}/a")
