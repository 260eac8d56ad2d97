"""URLs of object stores: which are allowed, and that no name leads out of the cache folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlkit.errors import ConfigError, ObjectStoreError, PluginError, TlkitError
from tlkit.store_urls import check_url, is_url, join, local_only, local_path


@pytest.mark.parametrize("text", ["s3://bucket/runs", "gs://b", "S3://Bucket/x", "memory://a/b"])
def test_a_url_is_told_from_a_path(text):
    assert is_url(text)


@pytest.mark.parametrize(
    "value", ["runs", "/runs", "C:\\runs", "C:/runs", "s3:/x", Path("s3://b"), 3]
)
def test_a_path_is_no_url(value):
    assert not is_url(value)


@pytest.mark.parametrize("output", ["s3://key:secret@b/x", Path("s3://key:secret@b/x"), "gs:/b"])
def test_an_output_that_cannot_be_at_a_url_is_refused_without_its_secrets(output):
    with pytest.raises(ConfigError, match=r"is a URL.*--output FOLDER") as caught:
        local_only(output)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("output", ["sweep", "/a/b", "C:/runs", "a/s3:/b", Path("x")])
def test_an_output_on_this_machine_is_taken(output):
    assert local_only(output) == Path(output)


def test_slashes_at_the_end_are_dropped():
    assert check_url("S3://bucket/runs//") == "s3://bucket/runs"
    assert join("s3://bucket/", "runs") == "s3://bucket/runs"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("runs", "is not the URL of an object store"),
        ("s3://", "names no bucket"),
        ("s3://bucket/../x", "an empty part"),
        ("s3://bucket//x", "an empty part"),
        ("file:///data/x", "Write it as a path: /data/x"),
        ("https://example.org/x", "is not a folder of an object store"),
        ("simplecache::s3://bucket/x", "is not"),
        ("s4://bucket/x", "does not know"),
    ],
)
def test_a_wrong_url_gives_one_error(url, said):
    with pytest.raises(ObjectStoreError, match=said):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIAUSER:hunter2secret@bucket/x",
        "s3://AKIAUSER:hunter2/secret@bucket/x",
        "s3://AKIAUSER:hunter2secret",
        "s3://AKIAUSER:1234/hunter2secret@bucket/x",
        "s3://bucket/x?X-Amz-Signature=hunter2secret",
        "s3://bucket/x#hunter2secret",
    ],
)
def test_credentials_in_a_url_are_refused_and_not_shown(url):
    with pytest.raises(ObjectStoreError, match="come from the environment") as caught:
        check_url(url)
    assert "hunter2" not in str(caught.value)
    assert "AKIAUSER" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "module", "package"),
    [
        ("s3://bucket/x", "s3fs", r"pip install 'tlkit\[s3\]'"),
        ("gs://bucket/x", "gcsfs", r"pip install 'tlkit\[gcs\]'"),
        ("az://bucket/x", "adlfs", "pip install adlfs"),
    ],
)
def test_a_missing_package_is_named_with_its_command(url, module, package, monkeypatch):
    import fsspec  # noqa: F401

    monkeypatch.setitem(sys.modules, module, None)
    # What was imported before is remembered there.
    monkeypatch.setattr(sys.modules["fsspec.registry"], "registry", {})
    with pytest.raises(PluginError, match=package):
        check_url(url)


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/../../x", "a//b", "a/./b", "..\\x", "C:x", "a\0", "", "x" * 256]
)
def test_a_hostile_name_is_refused(name, tmp_path):
    with pytest.raises(ObjectStoreError, match="cannot be kept as a file"):
        local_path(tmp_path, name)


@given(st.text(st.sampled_from("ab./\\:\0\x01é\ud800~"), max_size=12) | st.text(max_size=40))
def test_whatever_the_name_the_file_lies_below_the_folder(name):
    folder = Path("/cache/folder")
    try:
        path = local_path(folder, name)
    except TlkitError:
        return
    assert path.is_relative_to(folder)
    assert path != folder
    assert ".." not in path.parts
    assert path.relative_to(folder).as_posix() == name
