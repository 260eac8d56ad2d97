import numpy as np
import pytest

from tlkit import rows
from tlkit.rows import Stacked, share_with_tensorflow, take_rows


@pytest.fixture
def stored(tmp_path):
    array = np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32)
    np.save(tmp_path / "a.npy", array)
    return array, np.load(tmp_path / "a.npy", mmap_mode="r")


def test_rows_come_in_the_order_asked_for(stored, monkeypatch):
    array, mapped = stored
    order = np.array([7, 3, 3, 49, 0])
    monkeypatch.setattr(rows, "MAX_RESIDENT_BYTES", 10)  # its pages are handed back each time
    for source in (array, mapped, mapped[:]):
        np.testing.assert_array_equal(take_rows(source, order), array[order])
        np.testing.assert_array_equal(take_rows(source, order), array[order])


def test_pictures_come_as_a_list():
    pictures = [np.full((2, 2, 3), value, np.uint8) for value in range(5)]
    found = take_rows(pictures, np.array([4, 1]))
    assert [int(picture[0, 0, 0]) for picture in found] == [4, 1]


def test_stacked_arrays_read_as_one_long_array(stored):
    array, mapped = stored
    stacked = Stacked([mapped, array + 1, array + 2])
    assert len(stacked) == 150
    order = np.random.default_rng(1).permutation(150)
    expected = np.concatenate([array, array + 1, array + 2])
    np.testing.assert_array_equal(take_rows(stacked, order), expected[order])


def test_a_mapped_file_is_shared_and_not_changed_by_it(stored, tmp_path):
    array, mapped = stored
    tensor = share_with_tensorflow(mapped)
    np.testing.assert_array_equal(tensor.numpy(), array)
    other = np.load(tmp_path / "a.npy", mmap_mode="r+")
    other[0, 0] = 99
    other.flush()
    assert float(tensor[0, 0]) == 99, "the tensor is a copy"


@pytest.mark.parametrize("part", [slice(3, 20), slice(None, None, 2)])
def test_what_cannot_be_shared_is_copied(stored, part):
    array, mapped = stored
    for source in (array[part], mapped[part], array.T, array.astype(">f4")):
        np.testing.assert_array_equal(share_with_tensorflow(source).numpy(), source)


def test_changes_in_a_copy_on_write_map_are_kept_and_used(stored, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "MAX_RESIDENT_BYTES", 10)
    array, _ = stored
    mapped = np.load(tmp_path / "a.npy", mmap_mode="c")
    mapped[3] = 7
    for _ in range(2):
        assert float(take_rows(np.asarray(mapped), np.array([3]))[0, 0]) == 7
    assert float(share_with_tensorflow(mapped)[3, 0]) == 7
    np.testing.assert_array_equal(mapped[4:], array[4:])


def test_a_mapped_file_in_fortran_order_is_shared_rightly(stored, tmp_path):
    array, _ = stored
    np.save(tmp_path / "f.npy", np.asfortranarray(array))
    mapped = np.load(tmp_path / "f.npy", mmap_mode="r")
    np.testing.assert_array_equal(share_with_tensorflow(mapped).numpy(), array)


def test_a_mapped_file_that_was_deleted_is_still_read(stored, tmp_path):
    array, mapped = stored
    (tmp_path / "a.npy").unlink()
    np.testing.assert_array_equal(share_with_tensorflow(mapped).numpy(), array)
