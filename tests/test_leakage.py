import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.tiny import make_images
from tlkit import DataError, PictureFiles, Split
from tlkit.fingerprint import KnownDigests
from tlkit.leakage import digest_each, find_leakage, settle
from tlkit.subsets import Subset

CLASSES = ("red", "green", "blue")


def split_of(images, labels, names=()):
    return Split(images, np.asarray(labels, np.int64), tuple(names))


def whole(split):
    return Subset(split, np.arange(len(split)))


def numbered(numbers):
    """One grey picture of 2 x 2 pixels for each number; equal numbers are equal pictures."""
    return np.repeat(np.array(numbers, np.uint8), 12).reshape(-1, 2, 2, 3)


@pytest.fixture
def leaky():
    """Test images 0 and 2 are training images 1 and 3, the second under another label."""
    train = split_of(numbered([1, 2, 3, 4, 2, 5]), [0, 1, 2, 0, 1, 2])
    test = split_of(numbered([2, 9, 4]), [1, 1, 2])
    return train, test


def test_test_images_that_are_training_images_are_found(leaky):
    train, test = leaky
    validation = split_of(numbered([7, 8]), [0, 1])
    found = find_leakage(whole(train), whole(validation), whole(test))
    assert [(item.index, item.train_index, item.copies) for item in found.duplicates] == [
        (0, 1, 2),
        (2, 3, 1),
    ]
    assert [item.label_conflict for item in found.duplicates] == [False, True]
    assert found.counts == {
        "test": 2, "validation": 0, "train": 1, "label_conflicts": 1, "validation_in_test": 0
    }  # fmt: skip
    assert found.train_rows.tolist() == [0, 2, 5]


def test_picture_files_are_read_once_for_the_search_and_the_fingerprint(tmp_path, monkeypatch):
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for number, path in enumerate(paths):
        Image.fromarray(np.full((2, 2, 3), number % 3, np.uint8)).save(path)
    read = []
    content = PictureFiles._content
    monkeypatch.setattr(
        PictureFiles, "_content", lambda self, row: [read.append(row), content(self, row)][1]
    )
    train = whole(split_of(PictureFiles(paths), [0, 1, 2, 0]))
    test = whole(split_of(PictureFiles(paths[:1]), [0]))
    kept = KnownDigests()
    assert find_leakage(train, train, test, kept).count("test") == 1
    assert sorted(read) == [0, 0, 1, 2, 3]
    assert kept.of(train.split.images) == PictureFiles(paths).fingerprint()
    assert len(read) == 5 + 4  # those of the other object


def test_digests_that_are_kept_spare_a_second_reading(leaky, monkeypatch):
    from tlkit import leakage

    train, test = leaky
    parts = Subset(train, np.array([0, 1, 2, 3])), Subset(train, np.array([4, 5])), whole(test)
    kept = KnownDigests()
    first = find_leakage(*parts, kept)
    monkeypatch.setattr(leakage, "digest_each", None)
    again = find_leakage(*parts, kept)
    assert again.duplicates == first.duplicates == find_leakage(*parts, kept).duplicates
    assert again.train_rows.tolist() == first.train_rows.tolist() == [0, 2]
    # Other rows of the same splits are compared anew.
    assert find_leakage(whole(train), whole(test), whole(test), kept).count("test") == 2
    with pytest.raises(TypeError):
        find_leakage(*parts)


def test_repeats_within_the_training_images_that_straddle_the_validation_split_are_found(leaky):
    train, test = leaky
    found = find_leakage(
        Subset(train, np.array([0, 1, 2, 3])), Subset(train, np.array([4, 5])), whole(test)
    )
    (straddling,) = [item for item in found.duplicates if item.split == "validation"]
    assert (straddling.index, straddling.train_index) == (4, 1)
    assert found.count("test") == 2
    assert found.train_rows.tolist() == [0, 2]
    assert found.validation_rows.tolist() == [5]


def test_a_test_image_that_was_drawn_for_validation_is_found(leaky):
    train, test = leaky
    found = find_leakage(
        Subset(train, np.array([0, 1, 2, 4, 5])), Subset(train, np.array([3])), whole(test)
    )
    assert (2, 3) in [(item.index, item.train_index) for item in found.duplicates]
    assert found.validation_rows.tolist() == []


def test_validation_on_the_test_set_is_not_counted_twice(leaky):
    train, test = leaky
    found = find_leakage(whole(train), whole(test), whole(test))
    assert found.counts["validation"] == 0
    assert found.validation_rows.tolist() == [0, 1, 2]


def test_one_picture_with_two_labels_in_training_is_a_conflict():
    train = split_of(numbered([1, 1, 1, 2]), [0, 1, 1, 2])
    test = split_of(numbered([9]), [0])
    found = find_leakage(whole(train), Subset(train, np.array([], np.int64)), whole(test))
    assert (found.counts["train"], found.counts["label_conflicts"]) == (2, 2)
    _, notes = settle(found, {}, "report", CLASSES)
    assert "LABEL CONFLICTS (2)" in notes[-1]


def test_a_duplicate_with_another_label_is_the_one_that_is_named():
    train = split_of(numbered([1, 1]), [0, 2], ("a.png", "b.png"))
    test = split_of(numbered([1]), [0], ("c.png",))
    found = find_leakage(whole(train), whole(test), whole(test))
    assert found.duplicates[0].train_name == "b.png"
    subsets = {"train": whole(train), "validation": whole(test), "test": whole(test)}
    _, notes = settle(found, subsets, "report", CLASSES)
    assert "such as c.png (red) and b.png (blue)" in notes[-1]


def test_the_choices(leaky):
    train, test = leaky
    validation = split_of(numbered([3, 2, 6]), [0, 1, 1])
    subsets = {"train": whole(train), "validation": whole(validation), "test": whole(test)}
    found = find_leakage(*subsets.values())
    kept, notes = settle(found, subsets, "report", CLASSES)
    assert kept == subsets
    assert notes[0].startswith("LEAKAGE: 2 of 3 test images are also training images.")
    assert notes[1].startswith("LEAKAGE: 2 of 3 validation images")
    kept, notes = settle(found, subsets, "drop", CLASSES)
    assert kept["train"].rows.tolist() == [0, 5]
    assert kept["validation"].rows.tolist() == [0, 2]
    assert kept["test"].rows.tolist() == [0, 1, 2]
    assert "Dropped for that: 4 training and 1 validation images." in notes
    with pytest.raises(DataError, match=r"2 of 3 test(.|\n)*test image 0 = train image 1"):
        settle(found, subsets, "error", CLASSES)


@pytest.fixture
def shared():
    """Two of four validation images of the data set's own are test images; training is apart."""
    train, test = split_of(numbered([1, 2]), [0, 1]), split_of(numbered([7, 8, 9]), [0, 1, 2])
    validation = split_of(numbered([8, 5, 6, 7]), [1, 0, 0, 2], ("a", "b", "c", "d"))
    return {"train": whole(train), "validation": whole(validation), "test": whole(test)}


def test_validation_images_that_are_test_images_are_found(shared):
    found = find_leakage(*shared.values())
    assert found.duplicates == ()
    pairs = [(item.split, item.index, item.equals, item.train_index) for item in found.pairs]
    assert pairs == [("validation", 0, "test", 1), ("validation", 3, "test", 0)]
    assert found.counts == {
        "test": 0, "validation": 0, "train": 0, "label_conflicts": 0, "validation_in_test": 2
    }  # fmt: skip
    kept, notes = settle(found, shared, "report", CLASSES)
    assert kept == shared
    assert notes[0].startswith("LEAKAGE: 2 of 4 validation images are also test images.")
    assert "out of training and validation" in notes[1]


def test_validation_images_that_are_test_images_are_refused_or_dropped(shared):
    found = find_leakage(*shared.values())
    with pytest.raises(DataError, match=r"2 of 4 validation(.|\n)*  a = test image 1\n"):
        settle(found, shared, "error", CLASSES)
    kept, notes = settle(found, shared, "drop", CLASSES)
    assert kept["validation"].rows.tolist() == [1, 2]
    assert kept["train"].rows.tolist() == [0, 1]
    assert kept["test"] is shared["test"]
    assert "Dropped for that: 0 training and 2 validation images." in notes


@pytest.mark.parametrize("same_subset", [True, False])
def test_dropping_leaves_validation_on_the_test_set_as_it_is(leaky, same_subset):
    train, test = leaky
    subsets = {"train": whole(train), "validation": whole(test), "test": whole(test)}
    if same_subset:
        subsets["validation"] = subsets["test"]
    kept, notes = settle(find_leakage(*subsets.values()), subsets, "drop", CLASSES)
    assert kept["validation"] is subsets["validation"]
    assert kept["train"].rows.tolist() == [0, 2, 5]
    assert "Dropped for that: 3 training and 0 validation images." in notes


def test_with_few_shot_the_notes_say_of_which_images_they_are(leaky):
    train, test = leaky
    subsets = {"train": whole(train), "validation": whole(test), "test": whole(test)}
    found = find_leakage(*subsets.values())
    plain, few = (settle(found, subsets, "report", CLASSES, few_shot=few)[1] for few in (0, 1))
    assert "before few_shot" not in " ".join(plain)
    assert few[0].startswith(
        "LEAKAGE: 2 of 3 test images are also training images (counted before few_shot)."
    )
    assert sum("(counted before few_shot)" in note for note in few) == 3


def test_nothing_left_after_dropping_is_an_error():
    train = split_of(numbered([1, 2]), [0, 1])
    subsets = {"train": whole(train), "validation": whole(train), "test": whole(train)}
    copied = split_of(numbered([1, 2]), [0, 1])
    subsets["test"] = whole(copied)
    found = find_leakage(*subsets.values())
    with pytest.raises(DataError, match="no train image is left"):
        settle(found, subsets, "drop", CLASSES)


def test_clean_data_has_nothing_to_say():
    train, test = split_of(*make_images(30, 1)), split_of(*make_images(9, 2))
    subsets = {"train": whole(train), "validation": whole(test), "test": whole(test)}
    found = find_leakage(*subsets.values())
    assert settle(found, subsets, "error", CLASSES) == (subsets, [])
    assert found.duplicates == ()


def test_picture_files_are_compared_by_their_content(tmp_path):
    paths = []
    for number, name in ((1, "a.png"), (2, "b.png"), (1, "copy.png")):
        paths.append(tmp_path / name)
        Image.fromarray(numbered([number])[0]).save(paths[-1])
    train = split_of(PictureFiles(paths[:2]), [0, 1], ("a.png", "b.png"))
    test = split_of(PictureFiles(paths[2:]), [0], ("copy.png",))
    found = find_leakage(whole(train), whole(test), whole(test))
    assert [(item.name, item.train_name) for item in found.duplicates] == [("copy.png", "a.png")]


def test_an_array_and_pictures_are_compared_by_their_pixels(tmp_path):
    Image.fromarray(numbered([5])[0]).save(tmp_path / "a.png")
    train = split_of(numbered([4, 5]), [0, 1])
    test = split_of(PictureFiles([tmp_path / "a.png"]), [1], ("a.png",))
    found = find_leakage(whole(train), whole(test), whole(test))
    assert [item.train_index for item in found.duplicates] == [1]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=30),
    st.lists(st.integers(0, 12), min_size=1, max_size=30),
    st.booleans(),
)
def test_it_finds_what_a_comparison_of_all_pairs_finds(train_numbers, test_numbers, lazy):
    images = [numbered(train_numbers), numbered(test_numbers)]
    if lazy:
        images = [list(item) for item in images]
    train, test = (split_of(item, [0] * len(item)) for item in images)
    found = find_leakage(whole(train), whole(test), whole(test))
    expected = [index for index, number in enumerate(test_numbers) if number in train_numbers]
    assert [item.index for item in found.duplicates] == expected
    left = [train_numbers[row] for row in found.train_rows]
    assert left == [number for number in train_numbers if number not in test_numbers]


def test_the_shape_is_part_of_the_digest():
    flat, tall = np.zeros((1, 2, 6, 3), np.uint8), np.zeros((1, 6, 2, 3), np.uint8)
    assert digest_each(flat, KnownDigests()) != digest_each(tall, KnownDigests())
    assert digest_each(flat, KnownDigests()) == digest_each(list(flat), KnownDigests())


def test_sixty_thousand_small_images_take_well_under_a_second():
    images = np.random.default_rng(0).integers(0, 255, (60_000, 32, 32, 3), np.uint8)
    images[59_999] = images[0]
    train, test = split_of(images[:50_000], [0] * 50_000), split_of(images[50_000:], [0] * 10_000)
    begin = time.process_time()
    found = find_leakage(whole(train), whole(test), whole(test))
    assert time.process_time() - begin < 1.5  # 0.4 s where measured
    assert found.counts["test"] == 1
