import numpy as np
import pytest

from tlkit import DataError
from tlkit.builtin.datasets.arrays import Arrays, read_npz

X, Y = np.zeros((4, 8, 8, 3), np.uint8), np.arange(4) % 2


@pytest.mark.parametrize("images", [X, X[..., :1], X[..., 0]])
@pytest.mark.parametrize("labels", [Y, Y[:, None], Y.astype(np.uint8)])
def test_colour_grey_and_column_labels(images, labels):
    data = Arrays(images, labels, images, labels).load(0)
    assert data.train.images.shape == (4, 8, 8, 3)
    assert data.train.labels.dtype == np.int64
    assert data.class_names == ("0", "1")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (X.astype(np.float32), Y, r"look like 0 to 1: pass \(255"),
        (X.astype(np.int64) + 7, Y, "allowed: uint8"),
        (X[..., :2], Y, "allowed: \\(N, height"),
        (X, Y[:3], "4 images and y_train 3 labels"),
        (X, Y.astype(float), "whole numbers"),
        (X, np.eye(4, 2), "whole numbers"),
    ],
)
def test_wrong_arrays_say_what_is_allowed(images, labels, message):
    with pytest.raises(DataError, match=message):
        Arrays(images, labels, X, Y).load(0)


@pytest.mark.parametrize("names", [np.array(7), np.array([[b"a"]]), np.array([0.5, 1.0])])
def test_class_names_that_are_no_names_are_refused(tmp_path, names):
    pixels, labels = np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 1])
    path = tmp_path / "some.npz"
    arrays = {"x_train": pixels, "y_train": labels, "x_test": pixels, "y_test": labels}
    np.savez(path, **arrays, class_names=names)
    with pytest.raises(DataError, match="class_names is"):
        read_npz(path, None)


def test_an_array_whose_header_is_no_python_is_refused(tmp_path):
    path = tmp_path / "some.npz"
    arrays = {key: np.zeros((2, 4, 4, 3), np.uint8) for key in ("x_train", "y_train")}
    np.savez(path, **arrays)
    path.write_bytes(path.read_bytes().replace(b"4, 3), }", b"4, 3), ("))
    with pytest.raises(DataError, match="Cannot read"):
        read_npz(path, None)


def test_npz(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x_train=X, y_train=Y, x_test=X, y_test=Y, class_names=["a", "b"])
    assert read_npz(path, None).class_names == ("a", "b")
    np.savez(path, x_train=X, y_train=Y)
    with pytest.raises(DataError, match="has no x_test, y_test"):
        read_npz(path, None)
    np.savez(path, x_train=np.array([{}]), y_train=Y, x_test=X, y_test=Y)
    with pytest.raises(DataError, match="Cannot read"):
        read_npz(path, None)
    path.write_bytes(b"no zip")
    with pytest.raises(DataError, match="Cannot read"):
        read_npz(path, None)
