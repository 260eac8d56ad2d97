import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit import DataError, DatasetSource, ImageData, Split
from tlkit.run_data import DataSettings, JoinedImages, Replay, load_run_data, prepare_data

SETTINGS = DataSettings(seed=0, validation=0.25, duplicates="report", few_shot=0)


class Given(DatasetSource):
    """Images that were made before."""

    name = "given"

    def __init__(self, data):
        self.options.pop("data", None)
        self.data = data

    def load(self, seed):
        return self.data


def make_split(labels, first, size=4, lazy=False):
    """Images whose first pixel says which they are."""
    images = np.zeros((len(labels), size, size, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(first, first + len(labels))
    return Split(list(images) if lazy else images, np.array(labels, np.int64))


def make_data(names, first, **keywords):
    labels = [label for label in range(len(names)) for _ in range(8)]
    return ImageData(
        make_split(labels, first, **keywords),
        make_split(labels[::4], first + 100, **keywords),
        tuple(names),
    )


def found_in(subset):
    """Return the number and the label of each image of a subset."""
    return {
        (int(subset.split.images[int(row)][0, 0, 0]), int(subset.split.labels[row]))
        for row in subset.rows
    }


@given(st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=4))
@settings(deadline=None, max_examples=50)
def test_joined_images_are_the_rows_one_after_the_other(parts):
    images = [np.full((10, 1, 1, 3), 10 * number, np.uint8) for number in range(len(parts))]
    for image in images:
        image[:, 0, 0, 1] = np.arange(10)
    joined = JoinedImages(
        [(image, np.array(rows, np.int64)) for image, rows in zip(images, parts, strict=True)]
    )
    expected = [image[row] for image, rows in zip(images, parts, strict=True) for row in rows]
    assert len(joined) == len(expected)
    np.testing.assert_array_equal(list(joined), expected)
    np.testing.assert_array_equal(joined[1:3], expected[1:3])
    for index in range(-len(expected), len(expected)):
        np.testing.assert_array_equal(joined[index], expected[index])
    for index in (len(expected), -len(expected) - 1):
        with pytest.raises(IndexError):
            joined[index]


def test_the_fingerprint_of_joined_images_is_that_of_rows_and_images():
    images = make_split([0] * 10, 0).images
    rows = np.arange(5)
    prints = {
        JoinedImages([(images, rows)]).fingerprint(),
        JoinedImages([(images, rows[::-1])]).fingerprint(),
        JoinedImages([(images + 1, rows)]).fingerprint(),
    }
    assert len(prints) == 3
    assert JoinedImages([(images.copy(), rows.copy())]).fingerprint() in prints


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("size", [4, 6])
def test_replayed_images_keep_their_part_and_get_the_label_of_their_class(lazy, size):
    before = prepare_data(make_data(["a", "b", "c"], 0), SETTINGS)
    new = make_data(["z", "b"], 30, size=size, lazy=lazy)
    found = load_run_data(Given(new), SETTINGS, replay_for=lambda data: Replay(before, ("a", "c")))
    assert found.data.class_names == ("a", "b", "c", "z")
    for part in ("train", "validation", "test"):
        kept = {item for item in found_in(before.subsets[part]) if item[1] in (0, 2)}
        own = found_in(prepare_data(new, SETTINGS).subsets[part])
        expected = kept | {(number, 3 if label == 0 else 1) for number, label in own}
        assert found_in(found.subsets[part]) == expected
    assert "Replayed: 20 images of 2 classes" in found.notes[0]
    together = found.data.train.images
    assert isinstance(together, np.ndarray) == (not lazy and size == 4)


def test_where_the_run_before_validated_on_its_test_set_a_share_is_drawn():
    on_test = DataSettings(0, "test", "report", 0)
    before = prepare_data(make_data(["a", "b"], 0), on_test)
    new = make_data(["z"], 30)
    found = load_run_data(Given(new), SETTINGS, replay_for=lambda data: Replay(before, ("a", "b")))
    old = [item for item in found_in(found.subsets["validation"]) if item[1] < 2]
    assert len(old) == 4
    assert not set(old) & found_in(found.subsets["train"])
    again = load_run_data(Given(new), on_test, replay_for=lambda data: Replay(before, ("a", "b")))
    assert again.on_test


def test_one_class_alone_is_enough_only_with_others_from_before():
    with pytest.raises(DataError, match="1 classes; at least 2 are needed"):
        load_run_data(Given(make_data(["z"], 30)), SETTINGS)
