from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlkit import shards
from tlkit.shards import ShardedArray, neighbours


@given(
    rows=st.integers(1, 30),
    width=st.integers(1, 4),
    shard=st.integers(1, 100),
    batch=st.integers(1, 40),
    descr=st.sampled_from(["<f4", "<f2"]),
)
def test_what_is_filled_in_is_read_by_numpy_and_is_whole(
    tmp_path_factory, rows, width, shard, batch, descr
):
    folder = tmp_path_factory.mktemp("shards")
    values = np.arange(rows * width, dtype=descr).reshape(rows, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD_BYTES", shard)
        array = ShardedArray(folder / "a.npy", folder / "a.sha256", values.shape, descr)
        assert array.damaged() == list(range(array.num_shards))
        batches = [values[first : first + batch] for first in range(0, rows, batch)]
        *_, done = array.fill(range(array.num_shards), batches)
        assert done == rows
        assert array.damaged() == []
        np.testing.assert_array_equal(np.load(array.path), values)
        assert array.digests.stat().st_size == 32 * array.num_shards
        array.keep_first(array.num_shards - 1)
        assert array.damaged() == [array.num_shards - 1]


def test_batches_beyond_the_last_shard_are_not_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 8)
    array = ShardedArray(tmp_path / "a.npy", tmp_path / "a.sha256", (6, 1), "<f4")

    def batches():
        yield np.zeros((3, 1), "<f4")
        yield np.ones((3, 1), "<f4")
        raise AssertionError("asked for more")

    assert list(array.fill(range(2), batches())) == [3, 4]
    assert array.damaged() == [2]


@given(st.sets(st.integers(0, 40)))
def test_neighbours_cover_the_same_shards_in_order(numbers):
    found = neighbours(sorted(numbers))
    assert [shard for part in found for shard in part] == sorted(numbers)
    assert all(first.stop < second.start for first, second in pairwise(found))
