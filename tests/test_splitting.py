import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlkit import DataError, split_rows


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 0.8), st.integers(10, 40), st.integers(10, 40))
def test_every_row_is_in_one_part_and_the_shares_of_the_classes_stay(seed, share, cats, dogs):
    labels = np.array([0] * cats + [1] * dogs)
    train, test = split_rows(labels, share, seed, "a list")
    assert sorted([*train, *test]) == list(range(cats + dogs))
    for rows in (train, test):
        assert (np.diff(rows) > 0).all()
        assert abs((labels[rows] == 0).sum() - len(rows) * cats / (cats + dogs)) <= 1


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, float("nan")])
def test_shares_that_are_none_are_refused(share):
    with pytest.raises(DataError, match="above 0 and below 1"):
        split_rows(np.array([0, 1] * 10), share, 0, "a list")


def test_a_class_that_is_too_small_is_said():
    with pytest.raises(DataError, match="Cannot split a list") as caught:
        split_rows(np.array([0] * 10 + [1]), 0.2, 0, "a list")
    assert "1 of 2 classes have a single image; each needs 2. Add images" in str(caught.value)


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (0.1, r"= 0\.1: of 8 images 1 would be held out, fewer than the 4 classes\. Take a larger"),
        (0.9, r"= 0\.9: of 8 images 0 would be left to train on, .*\. Take a smaller share, add"),
    ],
)
def test_a_share_that_is_too_small_or_too_large_is_said(share, message):
    with pytest.raises(DataError, match=message):
        split_rows(np.arange(8) // 2, share, 0, "a list")


@given(
    st.floats(0.001, 0.999),
    st.lists(st.integers(2, 9), min_size=1, max_size=5),
)
def test_any_share_splits_or_says_which_way_to_go(share, counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    try:
        train, test = split_rows(labels, share, 0, "a list")
    except DataError as error:
        assert re.search("Take a (larger|smaller) share", str(error))
    else:
        assert sorted([*train, *test]) == list(range(len(labels)))
