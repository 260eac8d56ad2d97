import gzip

import keras
import numpy as np
import pytest

from tlkit import DataError
from tlkit.builtin.datasets.fashion_mnist import FashionMNIST


def idx(values, magic):
    sizes = np.array([magic, *values.shape], ">u4").tobytes()
    return gzip.compress(sizes + values.tobytes())


@pytest.fixture
def folder(tmp_path):
    for part, count in (("train", 5), ("t10k", 3)):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 28, 28)).astype(np.uint8)
        labels = np.arange(count, dtype=np.uint8)
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(pixels, 0x803))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(labels, 0x801))
    return tmp_path


def test_grey_becomes_rgb(folder):
    data = FashionMNIST(str(folder)).load(0)
    assert data.train.images.shape == (5, 28, 28, 3)
    assert (data.train.images[..., 0] == data.train.images[..., 2]).all()
    assert data.test.labels.tolist() == [0, 1, 2]
    assert data.class_names[9] == "Ankle boot"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip", "Cannot read"),
        (gzip.compress(b"\0\0", mtime=0), "no idx file"),
        (gzip.compress(b"\0\0\x08\x01" + bytes(12), mtime=0), "no idx file"),
        (gzip.compress(np.array([0x803, 9, 9, 9], ">u4").tobytes(), mtime=0), "cut short"),
        (gzip.compress(np.array([0x803, 2**31, 2**31, 9], ">u4").tobytes(), mtime=0), "too large"),
    ],
)
def test_damaged_files_are_named(folder, content, message):
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(DataError, match=message):
        FashionMNIST(str(folder)).load(0)


def test_missing_files_and_no_internet(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="train-images"):
        FashionMNIST(str(tmp_path)).load(0)

    def fail(name, origin, **kwargs):
        raise Exception(f"URL fetch failure on {origin}: None -- no name")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras.utils, "get_file", fail)
    with pytest.raises(DataError, match="tlkit run quickstart"):
        FashionMNIST().load(0)
