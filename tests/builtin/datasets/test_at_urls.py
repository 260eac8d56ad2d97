"""Data sets in object stores are those of the local folder with the same bytes."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
from PIL import Image

from tests.tiny import make_images, make_tiny_trainer
from tlkit import DataError, stored_path
from tlkit.builtin.datasets.cifar import CIFAR10
from tlkit.builtin.datasets.csv_table import CsvTable
from tlkit.builtin.datasets.folder import Folder
from tlkit.fingerprint import KnownDigests, digest_labels, digest_splits
from tlkit.paths import stores_folder

NAMES = ("blue", "green", "red")


@pytest.fixture
def pictures(s3, tmp_path):
    """The same pictures in a local folder and in a bucket: the files, by their names."""
    files = {}
    for part, count in (("train", 24), ("test", 9)):
        images, labels = make_images(count, count)
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            data = io.BytesIO()
            Image.fromarray(image).save(data, "PNG")
            deep = "deep/" if number % 2 else ""
            files[f"{part}/{NAMES[label]}/{deep}{number}.png"] = data.getvalue()
    files["train/red/notes.txt"] = b"no picture"
    files["train/red/.hidden.png"] = b"hidden"
    files[".hidden/x.png"] = b"hidden"
    rows = [
        f"pictures/{name},{name.split('/')[1]},{name.split('/')[0]}"
        for name in files
        if name.endswith(".png") and "hidden" not in name
    ]
    files["../table.csv"] = "\n".join(["path,label,split", *rows]).encode()
    for name, data in files.items():
        path = tmp_path / "local" / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        s3.put(f"pictures/{name}" if name[0] != "." or "hidden" in name else name[3:], data)
    return files


def figures(data):
    return (
        digest_splits(data, KnownDigests()),
        digest_labels(data),
        data.class_names,
        data.train.names,
        data.test.names,
    )


def test_a_folder_at_a_url_has_the_fingerprint_of_the_local_one(s3, pictures, tmp_path):
    local = Folder(str(tmp_path / "local" / "pictures")).load(0)
    stored = Folder(f"{s3.url}/pictures").load(0)
    assert figures(stored) == figures(local)
    assert len(stored.notes) == len(local.notes) == 1
    np.testing.assert_array_equal(stored.train.images[5], local.train.images[5])
    assert not stores_folder().exists()


def test_a_table_at_a_url_has_the_fingerprint_of_the_local_one(s3, pictures, tmp_path):
    local = CsvTable(str(tmp_path / "local" / "table.csv")).load(0)
    stored = CsvTable(f"{s3.url}/table.csv").load(0)
    assert figures(stored) == figures(local)
    here = CsvTable(str(tmp_path / "local" / "table.csv"), root=s3.url).load(0)
    assert figures(here) == figures(local)


def test_a_table_that_leads_out_of_its_folder_is_refused(s3, pictures):
    s3.put("deep/table.csv", b"path,label\n../pictures/test/red/0.png,red\nx.png,blue\n")
    with pytest.raises(DataError, match="lead out of s3://"):
        CsvTable(f"{s3.url}/deep/table.csv").load(0)
    s3.put("deep/table.csv", b"path,label\nmissing.png,red\nx.png,blue\n")
    with pytest.raises(DataError, match="lead to no file"):
        CsvTable(f"{s3.url}/deep/table.csv").load(0)


def test_features_of_the_local_folder_are_found_and_each_picture_is_read_once(
    s3, pictures, tmp_path, reads
):
    local = make_tiny_trainer(tmp_path, dataset=Folder(str(tmp_path / "local" / "pictures"))).run()
    stored = make_tiny_trainer(tmp_path, dataset=Folder(f"{s3.url}/pictures")).run()
    assert set(local.feature_cache.values()) == {"extracted"}
    assert set(stored.feature_cache.values()) == {"stored"}
    np.testing.assert_array_equal(stored.test.probabilities, local.test.probabilities)
    assert len(reads) == len(set(reads)) == 33
    assert str(stores_folder()) not in (stored.folder / "config.toml").read_text()


def test_without_memory_for_the_set_it_is_read_twice_for_its_check_and_its_fingerprint(
    s3, pictures, tmp_path, reads, monkeypatch
):
    make_tiny_trainer(tmp_path, dataset=Folder(str(tmp_path / "local" / "pictures"))).run()
    monkeypatch.setattr(stored_path, "MOST_BYTES_KEPT", 0)
    stored = make_tiny_trainer(
        tmp_path, dataset=Folder(f"{s3.url}/pictures"), test_images=False
    ).run()
    assert set(stored.feature_cache.values()) == {"stored"}
    assert len(reads) == 2 * 33


def test_pictures_travel_to_other_processes_by_their_urls(s3, pictures, tmp_path):
    images = Folder(f"{s3.url}/pictures").load(0).train.images
    again = pickle.loads(pickle.dumps(images))
    np.testing.assert_array_equal(again[3], images[3])
    assert again.fingerprint() == images.fingerprint()


def test_an_npz_at_a_url(s3, tmp_path):
    images, labels = make_images(30, 0)
    data = io.BytesIO()
    np.savez(data, x_train=images, y_train=labels, x_test=images[:9], y_test=labels[:9])
    s3.put("sets/cifar10.npz", data.getvalue())
    found = CIFAR10(f"{s3.url}/sets/cifar10.npz").load(0)
    np.testing.assert_array_equal(found.train.images, images)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (Folder, r"s3://\S*/nothing is not there"),
        (CsvTable, r"there is no s3://\S*/nothing"),
        (CIFAR10, r"there is no .*s3://\S*/nothing"),
    ],
)
def test_a_url_with_nothing_is_one_error(s3, source, problem):
    with pytest.raises(DataError, match=rf"\[dataset\] path: {problem}"):
        source(f"{s3.url}/nothing").load(0)


def test_broken_pictures_are_named_and_may_be_skipped(s3, pictures):
    s3.put("pictures/train/red/broken.png", b"no picture")
    with pytest.raises(DataError, match=r"train/red/broken.png: it is no picture"):
        Folder(f"{s3.url}/pictures").load(0)
    data = Folder(f"{s3.url}/pictures", broken="skip").load(0)
    assert [note.name for note in data.pictures] == ["train/red/broken.png"]
