import io
import os
import pickle
import tarfile
from pathlib import Path

import keras
import numpy as np
import pytest

from tlkit import DataError
from tlkit.builtin.datasets.cifar import CIFAR10, CIFAR100


def make_batch(seed, key=b"labels", classes=10):
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (4, 3072)).astype(np.uint8)
    return pickle.dumps({b"data": pixels, key: generator.integers(0, classes, 4).tolist()}, 2)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for number in range(1, 6):
        (folder / f"data_batch_{number}").write_bytes(make_batch(number))
    (folder / "test_batch").write_bytes(make_batch(9))
    names = [f"class {n}".encode() for n in range(10)]
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": names}, 2))
    return folder


def test_folder_its_parent_and_the_archive_give_the_same(folder, tmp_path):
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(folder, folder.name)
    found = [
        CIFAR10(str(path)).load(0)
        for path in (folder, tmp_path, tmp_path / "cifar-10-python.tar.gz")
    ]
    for data in found:
        assert data.train.images.shape == (20, 32, 32, 3)
        assert data.class_names[3] == "class 3"
        np.testing.assert_array_equal(data.train.images, found[0].train.images)
        np.testing.assert_array_equal(data.test.labels, found[0].test.labels)
    first = pickle.loads((folder / "data_batch_1").read_bytes())[b"data"][0]
    np.testing.assert_array_equal(found[0].train.images[0, 0, 0], first[[0, 1024, 2048]])


def test_cifar100_uses_its_fine_labels(tmp_path):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test"):
        (folder / name).write_bytes(make_batch(1, b"fine_labels", 100))
    names = [f"c{n}".encode() for n in range(100)]
    (folder / "meta").write_bytes(pickle.dumps({b"fine_label_names": names}, 2))
    data = CIFAR100(str(tmp_path)).load(0)
    assert len(data.class_names) == 100
    assert len(data.train) == 4


def test_keras_cache_is_used(folder, monkeypatch, tmp_path):
    (tmp_path / "datasets").mkdir()
    folder.rename(tmp_path / "datasets" / folder.name)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert len(CIFAR10().load(0).train) == 20


@pytest.mark.parametrize("source", [CIFAR10, CIFAR100])
def test_no_internet_gives_one_error_that_says_what_to_do(monkeypatch, tmp_path, source):
    def fail(name, origin, **kwargs):
        raise Exception(f"URL fetch failure on {origin}: None -- [Errno -3] no name")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras.utils, "get_file", fail)
    with pytest.raises(DataError) as caught:
        source().load(0)
    for part in (source.url, str(tmp_path / "datasets"), "dataset.path", "tlkit run quickstart"):
        assert part in str(caught.value)


def test_bad_paths_and_batches_are_named(folder, tmp_path):
    with pytest.raises(DataError, match=r"there is no .*nothing"):
        CIFAR10(str(tmp_path / "nothing")).load(0)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match="is not allowed: a cifar-10-batches-py folder"):
        CIFAR10(str(tmp_path / "a.txt")).load(0)
    (tmp_path / "a.tar.gz").write_text("no archive")
    with pytest.raises(DataError, match="Cannot read the archive"):
        CIFAR10(str(tmp_path / "a.tar.gz")).load(0)
    (folder / "data_batch_3").write_bytes(pickle.dumps({b"data": np.zeros(5)}, 2))
    with pytest.raises(DataError, match=r"data_batch_3 is no batch of cifar10"):
        CIFAR10(str(folder)).load(0)
    (folder / "data_batch_2").unlink()
    with pytest.raises(DataError, match="data_batch_2"):
        CIFAR10(str(folder)).load(0)


@pytest.mark.real_data
def test_the_real_batches_are_cifar10(real_data_home):
    data = CIFAR10(str(real_data_home)).load(0)
    assert (len(data.train), len(data.test)) == (50_000, 10_000)
    assert np.bincount(data.train.labels).tolist() == [5000] * 10
    npz = CIFAR10(str(real_data_home / "cifar10.npz")).load(0)
    np.testing.assert_array_equal(npz.test.images, data.test.images)


def pack(path, folder, *extra):
    with tarfile.open(path, "w:gz") as archive:
        for item in extra:
            archive.addfile(item, io.BytesIO(bytes(item.size)))
        archive.add(folder, folder.name)
    return str(path)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "..\\evil"])
def test_an_archive_whose_members_lead_out_is_refused(folder, tmp_path, name):
    path = pack(tmp_path / "a.tar.gz", folder, tarfile.TarInfo(name))
    with pytest.raises(DataError, match=r"a\.tar\.gz is refused: .*leads out of the archive"):
        CIFAR10(path).load(0)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_a_batch_that_is_no_file_is_refused(folder, tmp_path, kind):
    (folder / "data_batch_2").unlink()
    link = tarfile.TarInfo("cifar-10-batches-py/data_batch_2")
    link.type, link.linkname = kind, "test_batch"
    path = pack(tmp_path / "a.tar.gz", folder, link)
    with pytest.raises(DataError, match=r"data_batch_2 is no file of a fitting size"):
        CIFAR10(path).load(0)


def test_an_archive_with_more_than_is_allowed_is_refused_before_it_is_unpacked(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("TLKIT_MAX_FILE_BYTES", "1000000")
    bomb = tarfile.TarInfo("bomb")
    bomb.size = 10**7
    path = pack(tmp_path / "a.tar.gz", folder, bomb)
    assert Path(path).stat().st_size < 200_000
    with pytest.raises(DataError, match=r"more than 1,000,000\. .*TLKIT_MAX_FILE_BYTES"):
        CIFAR10(path).load(0)


class Attack:
    def __reduce__(self):
        return os.system, ("touch owned",)


@pytest.mark.parametrize("packed", [False, True])
def test_an_exploit_among_the_batches_is_named_and_not_run(folder, tmp_path, packed, monkeypatch):
    (folder / "data_batch_4").write_bytes(pickle.dumps({b"data": Attack()}, 2))
    monkeypatch.chdir(tmp_path)
    path = pack(tmp_path / "a.tar.gz", folder) if packed else str(folder)
    with pytest.raises(DataError, match=r"data_batch_4 is refused: it names (posix|nt)\.system"):
        CIFAR10(path).load(0)
    assert not (tmp_path / "owned").exists()
