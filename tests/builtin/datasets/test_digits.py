import numpy as np
import pytest

from tlkit import DataError
from tlkit.builtin.datasets.digits import Digits


def test_digits_are_split_evenly_and_by_the_seed():
    data = Digits().load(0)
    assert len(data.train) + len(data.test) == 1797
    assert data.train.images.shape[1:] == (8, 8, 3)
    assert data.train.images.max() == 255
    counts = np.bincount(data.test.labels)
    assert counts.min() >= 34
    np.testing.assert_array_equal(data.test.images, Digits().load(0).test.images)
    assert not np.array_equal(data.test.images, Digits().load(1).test.images)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, 0.001])
def test_an_impossible_share_is_refused(share):
    with pytest.raises(DataError, match="test_fraction"):
        Digits(test_fraction=share).load(0)
