import json

import numpy as np
import pytest

from tlkit import DataError, PluginError, features
from tlkit.features import FeatureStore, Wanted

ROWS = np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32)


def wanted(rows=ROWS, **changes):
    def compute(start):
        for first in range(start, len(rows), 8):
            yield rows[first : first + 8]

    return Wanted(
        **{"fingerprint": "k", "shape": rows.shape, "backbone": "tiny", "compute": compute}
        | changes
    )


def no_compute(start):
    raise AssertionError("computed again")


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "features")


def test_what_is_computed_once_is_read_afterwards(store):
    calls = []
    first, stored = store.get(wanted(), lambda *seen: calls.append(seen))
    assert not stored
    assert [call[:2] for call in calls] == [(8, 40), (16, 40), (24, 40), (32, 40), (40, 40)]
    np.testing.assert_array_equal(first, ROWS)
    again, stored = store.get(wanted(compute=no_compute))
    assert stored
    assert isinstance(again, np.memmap)
    assert not again.flags.writeable
    np.testing.assert_array_equal(again, ROWS)


def test_float16_takes_half_the_space(store):
    found, _ = store.get(wanted(dtype="float16"))
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, ROWS.astype(np.float16))
    assert store.entries()[0].bytes < 40 * 16 * 2 + 200


def test_an_entry_knows_how_long_its_extraction_took(store, monkeypatch):
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(features.time, "monotonic", lambda: next(clock))
    store.get(wanted())
    assert store.seconds("k") == 2  # from the beginning to the end
    store.get(wanted(compute=no_compute))
    assert store.seconds("k") == 2
    assert store.seconds("missing") is None

    def stop(done, total, seconds):
        if done == 32:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get(wanted(fingerprint="half"), stop)
    assert store.seconds("half") is None
    store.get(wanted(fingerprint="half"))
    assert store.seconds("half") == 10  # 2 for the last 8 rows of 40


def test_an_interrupted_extraction_goes_on_after_its_last_whole_row(store):
    def stop(done, total, seconds):
        if done == 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get(wanted(), stop)
    entry = store.folder / "k"
    assert not (entry / features.FEATURES).exists()
    assert [item.complete for item in store.entries()] == [False]
    with (entry / features.PARTIAL).open("ab") as file:
        file.write(b"torn")
    seen = []
    found, stored = store.get(
        wanted(), lambda done, total, seconds: seen.append((done, seconds > 0))
    )
    assert seen == [(16, False), (24, True), (32, True), (40, True)]
    assert not stored
    np.testing.assert_array_equal(found, ROWS)


@pytest.mark.parametrize(
    ("value", "dtype"), [(np.nan, "float32"), (np.inf, "float32"), (1e5, "float16")]
)
def test_features_that_are_not_finite_are_refused(store, value, dtype):
    rows = ROWS.copy()
    rows[20, 3] = value
    with pytest.raises(PluginError, match=f"not finite as {dtype}.* images 16 to 23"):
        store.get(wanted(rows, dtype=dtype))


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="TLKIT_CACHE"):
        FeatureStore(tmp_path / "file").get(wanted())


def test_list_and_clear(store):
    assert store.entries() == []
    assert store.clear() == 0
    store.get(wanted())
    (entry,) = store.entries()
    assert (entry.backbone, entry.shape, entry.complete) == ("tiny", (40, 16), True)
    assert store.clear() >= 40 * 16 * 4
    assert store.entries() == []


def test_a_damaged_entry_is_left_out_of_the_list(store):
    store.get(wanted())
    (store.folder / "k" / features.META).write_text("[")
    assert store.entries() == []


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    assert FeatureStore().folder == tmp_path / "features"
    assert json.dumps(str(features.default_cache_folder()))
