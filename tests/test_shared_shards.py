import pickle
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tlkit import DataError
from tlkit.errors import ObjectMissingError, ObjectStoreError
from tlkit.shared_shards import SharedShards, in_threads

ROWS = np.arange(24, dtype=np.float32).reshape(8, 3)


@pytest.fixture(params=["folder", "s3"])
def location(request, tmp_path):
    if request.param == "folder":
        return str(tmp_path / "store")
    return f"{request.getfixturevalue('s3').url}/features"


def test_a_shard_is_read_as_it_was_written(location):
    shards = SharedShards(location, "key")
    assert shards.listing() == {}
    name = shards.write(3, ROWS)
    again = pickle.loads(pickle.dumps(shards))
    assert again.listing() == {3: [name]}
    np.testing.assert_array_equal(again.read(name, (8, 3), "<f4"), ROWS)
    assert again.read(name, (8, 4), "<f4") is None
    assert again.read(name, (8, 3), "<f2") is None
    assert again.read(name.replace("3", "4", 1), (8, 3), "<f4") is None
    assert again.read("../../meta.json", (8, 3), "<f4") is None
    shards.remove(name)
    assert shards.listing() == {}
    shards.remove(name)


def test_what_is_there_is_described_last(location):
    shards = SharedShards(location, "key")
    assert shards.description() is None
    shards.describe({"shape": [8, 3]})
    assert shards.description() == {"shape": [8, 3]}


def test_a_mark_is_seen_while_it_is_there(location):
    shards = SharedShards(location, "key")
    with shards.marked() as mark:
        assert SharedShards(location, "key").holds(mark)
    assert not shards.holds(mark)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), change=st.integers(1, 255), cut=st.booleans())
def test_one_flipped_byte_or_a_cut_is_found(tmp_path, place, change, cut):
    shards = SharedShards(str(tmp_path / "store"), "key")
    name = shards.write(0, ROWS)
    path = tmp_path / "store" / "key" / "shards" / name
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= change
    path.write_bytes(content[: place % len(content)] if cut else content)
    assert shards.read(name, (8, 3), "<f4") is None


def test_a_place_that_cannot_be_used_is_one_error(tmp_path, s3):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="Cannot read the feature store"):
        SharedShards(str(tmp_path / "file"), "key").listing()
    with pytest.raises(DataError, match="Cannot write to the feature store"):
        SharedShards(str(tmp_path / "file"), "key").write(0, ROWS)
    with pytest.raises(ObjectMissingError, match="no such bucket"):
        SharedShards("s3://there-is-none/features", "key").listing()
    with pytest.raises(ObjectStoreError, match="credentials"):
        SharedShards("s3://me:secret@bucket/features", "key")


def test_threads_work_ahead_and_answers_come_in_order():
    both = threading.Barrier(2, timeout=10)

    def wait(number):
        both.wait()
        return -number

    assert list(in_threads(wait, range(6))) == [(number, -number) for number in range(6)]

    def fail(number):
        raise ValueError(number)

    with pytest.raises(ValueError, match="0"):
        list(in_threads(fail, range(3)))
