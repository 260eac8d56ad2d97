import errno
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tlkit import DataError, PluginError, feature_filling, features, shards
from tlkit.feature_filling import Wanted
from tlkit.features import FeatureStore

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
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 8 * ROWS[0].nbytes)  # five shards of eight rows
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
    monkeypatch.setattr(feature_filling.time, "monotonic", lambda: next(clock))
    store.get(wanted())
    assert store.seconds("k") == 2  # from the beginning to the end
    store.get(wanted(compute=no_compute))
    assert store.seconds("k") == 2
    assert store.seconds("missing") is None

    def stop(done, total, seconds, kept):
        if done == 32:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get(wanted(fingerprint="half"), stop)
    assert store.seconds("half") is None
    store.get(wanted(fingerprint="half"))
    assert store.seconds("half") == 10  # 2 for the last 8 rows of 40


def test_an_interrupted_extraction_goes_on_after_its_last_whole_shard(store):
    def stop(done, total, seconds, kept):
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
        wanted(), lambda done, total, seconds, kept: seen.append((done, seconds > 0))
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


def test_a_full_disk_is_named_and_what_is_stored_stays_whole(store, monkeypatch):
    fill = shards.ShardedArray.fill

    def until_full(self, *args):
        for done in fill(self, *args):
            yield done
            if done == 16:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shards.ShardedArray, "fill", until_full)
    with pytest.raises(DataError, match="No space left on device"):
        store.get(wanted())
    monkeypatch.setattr(shards.ShardedArray, "fill", fill)
    seen = []
    store.get(wanted(), lambda done, total, seconds, kept: seen.append(done))
    assert seen == [16, 24, 32, 40]


def test_list_and_clear(store):
    assert store.entries() == []
    assert store.clear() == 0
    store.get(wanted())
    (entry,) = store.entries()
    assert (entry.backbone, entry.shape, entry.complete) == ("tiny", (40, 16), True)
    assert store.clear() >= 40 * 16 * 4
    assert store.entries() == []


def test_a_damaged_description_is_said_in_the_list_and_mended_with_a_warning(store):
    store.get(wanted())
    (store.folder / "k" / features.META).write_text("[")
    assert [entry.images for entry in store.entries()] == ["description damaged"]
    warnings = []
    store.get(wanted(compute=no_compute), warn=warnings.append)
    assert len(warnings) == 1
    assert "meta.json" in warnings[0]
    assert [entry.backbone for entry in store.entries()] == ["tiny"]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_one_flipped_byte_anywhere_is_found_and_only_its_shard_is_computed_again(store, data):
    store.clear()
    store.get(wanted())
    files = [path for path in sorted((store.folder / "k").iterdir()) if path.stat().st_size]
    assert [path.name for path in files] == [features.FEATURES, features.META, features.DIGESTS]
    path = data.draw(st.sampled_from(files))
    content = bytearray(path.read_bytes())
    # A share, as the description's length varies with the time that it tells.
    place = int(data.draw(st.floats(0, 1, exclude_max=True)) * len(content))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    computed, warnings = [], []

    def compute(start):
        for first in range(start, len(ROWS), 8):
            computed.append(first)
            yield ROWS[first : first + 8]

    found, stored = store.get(wanted(compute=compute), warn=warnings.append)
    np.testing.assert_array_equal(found, ROWS)
    assert stored == (path.name == features.META)
    assert len(warnings) == 1
    assert ("Is the disk" in warnings[0]) == (not stored)
    header = content.index(b"\n") + 1 if path.name == features.FEATURES else 0
    shard = {
        features.FEATURES: max(0, place - header) // (8 * ROWS[0].nbytes),
        features.DIGESTS: place // 32,
        features.META: None,
    }[path.name]
    assert computed == ([] if shard is None else [8 * shard])
    warnings.clear()
    store.get(wanted(compute=no_compute), warn=warnings.append)
    assert not warnings


def test_find_gives_whole_features_only(store):
    assert store.find("k") is None
    store.get(wanted())
    np.testing.assert_array_equal(store.find("k"), ROWS)
    path = store.folder / "k" / features.FEATURES
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert store.find("k") is None


def test_a_file_that_was_cut_off_is_completed(store):
    store.get(wanted())
    path = store.folder / "k" / features.FEATURES
    path.write_bytes(path.read_bytes()[:-700])
    warnings, seen = [], []
    found, stored = store.get(
        wanted(),
        lambda done, total, seconds, kept: seen.append((done, seconds > 0, kept)),
        warnings.append,
    )
    np.testing.assert_array_equal(found, ROWS)
    assert not stored
    assert seen == [(24, False, 24), (32, True, 32), (40, True, 40)]
    (warning,) = warnings
    assert "of 5 shards 2 were missing. Those of images 24 to 39 were computed again." in warning
    assert "Is the disk" not in warning


def test_what_is_missing_is_told_from_what_is_damaged(store):
    store.get(wanted())
    path = store.folder / "k" / features.FEATURES
    content = bytearray(path.read_bytes()[:-1])
    content[-20 * ROWS[0].nbytes] ^= 1
    path.write_bytes(content)
    warnings = []
    store.get(wanted(), warn=warnings.append)
    assert "of 5 shards 1 was damaged and 1 was missing. Those of images 16 to" in warnings[0]
    assert warnings[0].endswith(f"Is the disk of {store.folder} sound?")
    digests = store.folder / "k" / features.DIGESTS
    digests.unlink()
    warnings.clear()
    found, stored = store.get(wanted(), warn=warnings.append)
    np.testing.assert_array_equal(found, ROWS)
    assert not stored
    assert "of 5 shards 5 were missing" in warnings[0]
    assert warnings[0].endswith(f"Their checksums, {digests}, were deleted.")


def test_progress_tells_how_much_an_interrupt_would_leave(store):
    def compute(start):
        for first in range(start, len(ROWS), 5):
            yield ROWS[first : first + 5]

    seen = []

    def stop(done, total, seconds, kept):
        seen.append((done, kept))
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get(wanted(compute=compute), stop)
    assert seen == [(5, 0), (10, 8), (15, 8), (20, 16)]
    seen.clear()
    store.get(wanted(compute=compute), lambda *args: seen.append((args[0], args[3])))
    assert seen[0] == (16, 16)
    assert seen[-1] == (40, 40)


def test_features_of_another_shape_than_the_backbone_said_are_refused(store):
    with pytest.raises(PluginError, match=r"\(15,\) for an image instead of \(16,\)"):
        store.get(wanted(compute=lambda start: iter_closing(ROWS[start:, :15])))


def iter_closing(rows):
    yield rows


def _want(folder, begin, log, answers):
    def compute(start):
        with log.open("a") as file:
            file.write("computed\n")
        for first in range(start, len(ROWS), 8):
            time.sleep(0.02)
            yield ROWS[first : first + 8]

    begin.wait()
    found, stored = FeatureStore(folder).get(wanted(compute=compute))
    answers.put((bool(np.array_equal(found, ROWS)), stored))


def test_eight_processes_that_want_the_same_features_compute_them_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    begin, answers, log = context.Barrier(8), context.Queue(), tmp_path / "log"
    arguments = (tmp_path / "features", begin, log, answers)
    processes = [context.Process(target=_want, args=arguments) for _ in range(8)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(found) == [(True, False)] + [(True, True)] * 7
    assert log.read_text() == "computed\n"


def _die_holding_the_lock(folder):
    def compute(start):
        yield ROWS[start : start + 8]
        os.kill(os.getpid(), signal.SIGKILL)

    FeatureStore(folder).get(wanted(compute=compute))


def test_the_lock_of_a_dead_process_does_not_block(tmp_path):
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_die_holding_the_lock, args=(tmp_path / "features",))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    entry = tmp_path / "features" / "k"
    assert {path.name for path in entry.iterdir()} >= {"lock", features.PARTIAL}
    found, stored = FeatureStore(tmp_path / "features").get(wanted())
    np.testing.assert_array_equal(found, ROWS)
    assert not stored


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    assert FeatureStore().folder == tmp_path / "features"
