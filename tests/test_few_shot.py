import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tlkit import Split
from tlkit.few_shot import take_few
from tlkit.subsets import Subset


def make_subsets(labels, shared=False):
    labels = np.asarray(labels, np.int64)
    split = Split(np.zeros((len(labels), 2, 2, 3), np.uint8), labels)
    rows = np.arange(len(labels))
    test = Subset(Split(split.images, labels), rows)
    return {
        "train": Subset(split, rows[::2]),
        "validation": test if shared else Subset(split, rows[1::2]),
        "test": test,
    }


def counts(subset):
    return np.bincount(subset.split.labels[subset.rows]).tolist()


def test_k_images_of_each_class_are_kept():
    subsets = make_subsets(np.arange(60) % 3)
    kept, notes = take_few(subsets, 4, 0, ("a", "b", "c"))
    assert counts(kept["train"]) == counts(kept["validation"]) == [4, 4, 4]
    assert set(kept["train"].rows) <= set(subsets["train"].rows)
    assert kept["test"] is subsets["test"]
    assert notes == ["few_shot = 4: trained on 12 of 30 images, validated on 12."]


def test_validation_on_the_test_set_stays_whole():
    kept, _ = take_few(make_subsets(np.arange(60) % 3, shared=True), 4, 0, ("a", "b", "c"))
    assert kept["validation"] is kept["test"]


def test_one_split_for_validation_and_test_is_validation_on_the_test_set():
    subsets = make_subsets(np.arange(60) % 3)
    subsets["validation"] = Subset(subsets["test"].split, subsets["test"].rows)
    kept, _ = take_few(subsets, 4, 0, ("a", "b", "c"))
    assert kept["validation"] is subsets["validation"]


def test_small_classes_are_named():
    subsets = make_subsets([0] * 20 + [1] * 4)
    kept, notes = take_few(subsets, 5, 0, ("many", "few"))
    assert counts(kept["train"]) == [5, 2]
    assert notes[1] == "1 classes have fewer than 5 training images: few."


@given(st.integers(1, 6), st.integers(0, 99))
def test_a_larger_k_keeps_the_images_of_a_smaller_one(k, seed):
    subsets = make_subsets(np.arange(48) % 4)
    small, _ = take_few(subsets, k, seed, ("a", "b", "c", "d"))
    large, _ = take_few(subsets, k + 1, seed, ("a", "b", "c", "d"))
    assert set(small["train"].rows) <= set(large["train"].rows)


def test_the_seed_decides():
    subsets = make_subsets(np.arange(300) % 3)
    rows = [list(take_few(subsets, 3, seed, ("a", "b", "c"))[0]["train"].rows) for seed in (1, 2)]
    assert rows[0] != rows[1]
