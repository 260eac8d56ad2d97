"""Stored features that several machines share, each with a cache folder of its own."""

import errno
import os

import numpy as np
import pytest

from tests.test_features import ROWS, no_compute, wanted
from tlkit import DataError, shards
from tlkit.errors import ObjectMissingError, ObjectStoreError
from tlkit.feature_filling import FEATURES
from tlkit.features import FeatureStore, shared_store
from tlkit.shared_shards import SharedShards


@pytest.fixture(params=["folder", "s3"])
def location(request, tmp_path):
    if request.param == "folder":
        return str(tmp_path / "shared")
    return f"{request.getfixturevalue('s3').url}/features"


@pytest.fixture
def machine(tmp_path, monkeypatch, location):
    """Makes the store of another machine: its own cache folder, the same shared location."""
    monkeypatch.setattr(shards, "SHARD_BYTES", 8 * ROWS[0].nbytes)  # five shards of eight rows
    return lambda name: FeatureStore(tmp_path / name, location)


def counting(computed):
    def compute(start):
        for first in range(start, len(ROWS), 8):
            computed.append(first)
            yield ROWS[first : first + 8]

    return compute


def test_another_machine_computes_nothing(machine, location):
    found, stored = machine("one").get(wanted())
    assert not stored
    assert sorted(SharedShards(location, "k").listing()) == [0, 1, 2, 3, 4]
    seen = []
    found, stored = machine("two").get(
        wanted(compute=no_compute), lambda *call: seen.append(call), seen.append
    )
    assert stored
    np.testing.assert_array_equal(found, ROWS)
    assert seen == [(rows, 40, 0.0, rows) for rows in (8, 16, 24, 32, 40)]
    assert machine("two").seconds("k") == machine("one").seconds("k")


def test_what_was_stored_before_there_was_a_shared_place_is_copied_there(machine, tmp_path):
    FeatureStore(tmp_path / "one").get(wanted())
    machine("one").get(wanted(compute=no_compute))
    found, stored = machine("two").get(wanted(compute=no_compute))
    assert stored
    np.testing.assert_array_equal(found, ROWS)


def test_a_machine_goes_on_after_what_another_one_had_stored(machine):
    def stop(done, total, seconds, kept):
        if done == 24:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        machine("one").get(wanted(), stop)
    computed = []
    found, stored = machine("two").get(wanted(compute=counting(computed)))
    assert not stored
    np.testing.assert_array_equal(found, ROWS)
    assert 16 <= computed[0] <= 24  # the upload of the last one may have been cut off
    computed.clear()
    machine("one").get(wanted(compute=counting(computed)))
    assert computed == []


def test_a_damaged_and_a_missing_shard_are_computed_again_and_replaced(machine, location):
    machine("one").get(wanted())
    place = SharedShards(location, "k")
    there = place.listing()
    (damaged,), (missing,) = there[1], there[3]
    place.remove(missing)
    place._files.write(f"shards/{damaged}", b"damaged")
    computed, warnings = [], []
    found, stored = machine("two").get(wanted(compute=counting(computed)), warn=warnings.append)
    np.testing.assert_array_equal(found, ROWS)
    assert not stored
    assert computed == [8, 24]
    (warning,) = warnings
    assert f"in {location}/k, 1 shard was damaged and replaced." in warning
    machine("three").get(wanted(compute=no_compute), warn=warnings.append)
    assert len(warnings) == 1


def test_damage_on_the_own_disk_is_mended_from_the_shared_place(machine, tmp_path):
    machine("one").get(wanted())
    path = tmp_path / "one" / "k" / FEATURES
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    warnings = []
    found, stored = machine("one").get(wanted(compute=no_compute), warn=warnings.append)
    assert stored
    np.testing.assert_array_equal(found, ROWS)
    assert "1 was damaged" in warnings[0]


def test_shards_that_cannot_be_written_are_told_and_the_features_are_there(
    machine, tmp_path, monkeypatch
):
    def full(self, shard, rows):
        raise DataError("Cannot write to the feature store: " + os.strerror(errno.ENOSPC))

    warnings = []
    with monkeypatch.context() as patch:
        patch.setattr(SharedShards, "write", full)
        found, stored = machine("one").get(wanted(), warn=warnings.append)
    np.testing.assert_array_equal(found, ROWS)
    assert not stored
    (warning,) = warnings
    assert "not shared: Cannot write to the feature store: No space left" in warning
    machine("one").get(wanted(compute=no_compute), warn=warnings.append)
    machine("two").get(wanted(compute=no_compute), warn=warnings.append)
    assert len(warnings) == 1


def test_a_bucket_that_is_missing_ends_it_before_anything_is_computed(tmp_path, s3):
    store = FeatureStore(tmp_path / "one", "s3://there-is-none/features")
    with pytest.raises(ObjectMissingError, match="there-is-none"):
        store.get(wanted(compute=no_compute))


def test_a_place_is_whole_and_holds_no_credentials(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shared_store("here").shared == str(tmp_path / "here")
    with pytest.raises(ObjectStoreError) as caught:
        shared_store("s3://me:secret@bucket/features")
    assert "secret@" not in str(caught.value)


def elsewhere(computed, broken=()):
    """Other processes, which write shards in no order."""

    def compute(place, array, numbers):
        for shard in reversed(numbers):
            computed.append(shard)
            rows = array.rows(range(shard, shard + 1))
            name = place.write(shard, ROWS[rows.start : rows.stop])
            if shard in broken and computed.count(shard) == 1:
                place._files.write(f"shards/{name}", b"damaged")
            yield shard, name

    return compute


def test_other_processes_write_shards_and_the_array_is_in_order(machine, tmp_path):
    for store in (machine("one"), FeatureStore(tmp_path / "alone")):
        computed, seen = [], []
        found, stored = store.get(
            wanted(compute=no_compute, compute_elsewhere=elsewhere(computed)),
            lambda *call, seen=seen: seen.append(call[::3]),
        )
        np.testing.assert_array_equal(found, ROWS)
        assert not stored
        assert computed == [4, 3, 2, 1, 0]
        assert seen == [(rows, rows) for rows in (8, 16, 24, 32, 40)]
        names = {path.name for path in (store.folder / "k").iterdir()}
        assert names == {"lock", FEATURES, "shards.sha256", "meta.json"}
    found, stored = machine("two").get(wanted(compute=no_compute))
    assert stored


def test_a_shard_that_arrives_damaged_is_computed_once_more(machine):
    computed = []
    found, _ = machine("one").get(
        wanted(compute=no_compute, compute_elsewhere=elsewhere(computed, broken={2}))
    )
    np.testing.assert_array_equal(found, ROWS)
    assert computed == [4, 3, 2, 1, 0, 2]


def test_what_others_wrote_before_this_process_was_killed_is_kept(machine, tmp_path):
    for store in (machine("one"), FeatureStore(tmp_path / "alone")):
        computed = []

        def stop(done, total, seconds, kept):
            if done == 16:
                raise KeyboardInterrupt

        asked = wanted(compute=no_compute, compute_elsewhere=elsewhere(computed))
        with pytest.raises(KeyboardInterrupt):
            store.get(asked, stop)
        found, _ = store.get(asked)
        np.testing.assert_array_equal(found, ROWS)
        assert sorted(set(computed)) == [0, 1, 2, 3, 4]
        assert len(computed) == 5


def test_shards_that_nobody_can_read_are_one_error(tmp_path):
    def compute(place, array, numbers):
        yield 0, f"{0:06d}-{'0' * 64}.npy"

    with pytest.raises(DataError, match=r"cannot be read here.*\[features\] store"):
        FeatureStore(tmp_path / "one").get(wanted(compute_elsewhere=compute))

    def nothing(place, array, numbers):
        yield from ()

    with pytest.raises(DataError, match="were not computed by the workers"):
        FeatureStore(tmp_path / "one").get(wanted(compute_elsewhere=nothing))
