import json
import multiprocessing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny import TinyBackbone, make_images
from tlkit import DataError, PluginError, features
from tlkit.builtin.heads.linear import Linear
from tlkit.features import FeatureStore
from tlkit.model import assemble


@pytest.fixture(scope="module")
def tiny():
    backbone = TinyBackbone()
    return backbone, assemble(backbone, Linear(), 3)


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "features")


class Mixed(list):
    """A lazy sequence of pictures of several sizes."""


def features_of(model, images):
    return np.asarray(model.features(model.resize(images.astype(np.float32)), training=False))


def mixed_images():
    generator = np.random.default_rng(0)
    sizes = [(9, 30), (16, 16), (40, 7), (16, 16), (64, 64)]
    return Mixed(generator.integers(0, 256, (*size, 3)).astype(np.uint8) for size in sizes)


def test_features_are_those_of_the_model_and_the_second_call_reads_them(store, tiny):
    backbone, model = tiny
    images, _ = make_images(40, seed=0)
    calls = []
    first, stored = store.get("k", images, model, backbone, lambda *seen: calls.append(seen))
    assert not stored
    assert calls[-1][:2] == (40, 40)
    np.testing.assert_allclose(first, features_of(model, images), atol=1e-6)
    again, stored = store.get("k", images, None, backbone)
    assert stored
    assert isinstance(again, np.memmap)
    np.testing.assert_array_equal(first, again)


def test_pictures_of_mixed_sizes_are_resized_as_the_saved_model_does(store, tiny):
    backbone, model = tiny
    images = mixed_images()
    found, _ = store.get("k", images, model, backbone)
    for image, row in zip(images, found, strict=True):
        alone = features_of(model, image[None])[0]
        np.testing.assert_allclose(row, alone, atol=1e-5)


def test_an_interrupted_extraction_goes_on_after_its_last_whole_row(store, tiny, monkeypatch):
    backbone, model = tiny
    monkeypatch.setattr(features, "batch_size_for", lambda size: 8)
    images, _ = make_images(40, seed=0)

    def stop(done, total, seconds):
        if done == 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get("k", images, model, backbone, stop)
    entry = store.folder / "k"
    assert not (entry / features.FEATURES).exists()
    assert [item.complete for item in store.entries()] == [False]
    with (entry / features.PARTIAL).open("ab") as file:
        file.write(b"torn")
    seen = []
    found, stored = store.get("k", images, model, backbone, lambda done, *_: seen.append(done))
    assert seen == [24, 32, 40]
    assert not stored
    np.testing.assert_allclose(found, features_of(model, images), atol=1e-6)


def test_features_that_are_not_finite_are_refused(store, tiny):
    class Broken(TinyBackbone):
        def preprocess(self, images):
            return super().preprocess(images) * float("nan")

    backbone = Broken()
    with pytest.raises(PluginError, match="not finite"):
        store.get("k", make_images(4, 0)[0], assemble(backbone, Linear(), 3), backbone)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, tiny):
    (tmp_path / "file").write_text("")
    backbone, model = tiny
    with pytest.raises(DataError, match="TLKIT_CACHE"):
        FeatureStore(tmp_path / "file").get("k", make_images(4, 0)[0], model, backbone)


def test_list_and_clear(store, tiny):
    backbone, model = tiny
    assert store.entries() == []
    assert store.clear() == 0
    store.get("k", make_images(5, 0)[0], model, backbone)
    (entry,) = store.entries()
    assert (entry.backbone, entry.shape, entry.complete) == ("tiny", (5, 16), True)
    assert store.clear() >= 5 * 16 * 4
    assert store.entries() == []


def test_a_damaged_entry_is_left_out_of_the_list(store, tiny):
    backbone, model = tiny
    store.get("k", make_images(5, 0)[0], model, backbone)
    (store.folder / "k" / features.META).write_text("[")
    assert store.entries() == []


def _digest(backbone, head=None, seed=0):
    import keras

    keras.utils.set_random_seed(seed)
    head = head or Linear()
    return features.digest_model(assemble(backbone, head, 3), backbone, head)


def test_the_fingerprint_depends_on_everything_that_features_depend_on():
    class OtherInterpolation(TinyBackbone):
        interpolation = "nearest"

    class OtherPreprocess(TinyBackbone):
        def preprocess(self, images):
            return super().preprocess(images) * 2

    for other in (OtherInterpolation, OtherPreprocess):
        other.__module__, other.__qualname__ = TinyBackbone.__module__, TinyBackbone.__qualname__
    digests = [
        _digest(TinyBackbone()),
        _digest(TinyBackbone(), seed=1),
        _digest(TinyBackbone(image_size=20)),
        _digest(TinyBackbone(scale=1.0)),
        _digest(TinyBackbone(), Linear(pooling="max")),
        _digest(OtherInterpolation()),
        _digest(OtherPreprocess()),
    ]
    assert len(set(digests)) == len(digests)
    assert _digest(TinyBackbone()) == digests[0]


def _digest_in_process(queue):
    queue.put(_digest(TinyBackbone()))


@pytest.mark.slow
def test_the_fingerprint_is_the_same_in_another_process():
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_digest_in_process, args=(queue,))
    process.start()
    assert queue.get(timeout=120) == _digest(TinyBackbone())
    process.join()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10 * 4 * 4 * 3 - 1), st.integers(1, 255))
def test_any_changed_byte_changes_the_images_digest(position, change):
    images, _ = make_images(10, seed=0, size=4)
    before = features.digest_images(images)
    images.reshape(-1)[position] += np.uint8(change)
    assert features.digest_images(images) != before


def test_images_digest_sees_order_and_shape():
    images, _ = make_images(10, seed=0, size=4)
    digests = {
        features.digest_images(images),
        features.digest_images(images[::-1]),
        features.digest_images(images.reshape(10, 2, 8, 3)),
        features.digest_images(Mixed(images)),
    }
    assert len(digests) == 4


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    assert FeatureStore().folder == tmp_path / "features"
    assert json.dumps(str(features.default_cache_folder()))
