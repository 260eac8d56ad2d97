import threading
import time

import numpy as np
import pytest

from tests.tiny import TinyBackbone, make_images
from tlkit import EngineError, extraction
from tlkit.builtin.engines.tensorflow import TensorFlow
from tlkit.builtin.heads.linear import Linear
from tlkit.extraction import Pipeline
from tlkit.model import assemble
from tlkit.resizing import make_resizer


class Mixed(list):
    """A lazy sequence of pictures of several sizes."""


@pytest.fixture(scope="module")
def tiny():
    return assemble(TinyBackbone(), Linear(), 3)


@pytest.fixture(scope="module")
def pipeline(tiny):
    return lambda: Pipeline(TensorFlow().compile(tiny.features), make_resizer(tiny.resize), 16)


def features_of(model, images):
    return np.asarray(model.features(model.resize(images.astype(np.float32)), training=False))


def mixed_images():
    generator = np.random.default_rng(0)
    sizes = [(9, 30), (16, 16), (40, 7), (16, 16), (64, 64)]
    return Mixed(generator.integers(0, 256, (*size, 3)).astype(np.uint8) for size in sizes)


def test_features_are_those_of_the_model_in_order(pipeline, tiny):
    images, _ = make_images(700, seed=0)
    found = np.concatenate(list(pipeline().run(images)))
    np.testing.assert_allclose(found, features_of(tiny, images), atol=1e-5)


def test_it_starts_where_it_is_told_to(pipeline, tiny):
    images, _ = make_images(300, seed=0)
    found = np.concatenate(list(pipeline().run(images, start=290)))
    np.testing.assert_allclose(found, features_of(tiny, images[290:]), atol=1e-5)


def test_pictures_of_mixed_sizes_are_resized_as_the_saved_model_does(pipeline, tiny):
    images = mixed_images()
    found = np.concatenate(list(pipeline().run(images)))
    for image, row in zip(images, found, strict=True):
        np.testing.assert_allclose(row, features_of(tiny, image[None])[0], atol=1e-4)


def test_a_probe_finds_the_batch_size_and_loses_no_image(monkeypatch):
    monkeypatch.setattr(extraction, "number_of_workers", lambda: 2)
    batches = []

    def forward(pixels):
        time.sleep(0.002 if len(pixels) == 128 else 0.04)
        batches.append(len(pixels))
        return pixels[:, 0, 0, :1].astype(np.float32)

    images = np.zeros((30_000, 16, 16, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(30_000) % 251
    pipeline = Pipeline(forward, lambda pixels: pixels, 64)
    found = np.concatenate(list(pipeline.run(images)))
    np.testing.assert_array_equal(found[:, 0], np.arange(30_000) % 251)
    profile = pipeline.take_profile()
    assert set(profile.images_per_second) == {128, 256, 512}
    assert profile.batch_size == 128
    assert batches[-2] == 128
    assert pipeline.profile.batch_size == 128
    assert pipeline.profile.images_per_second == {}


def test_few_images_are_not_probed(pipeline):
    images, _ = make_images(100, seed=0)
    running = pipeline()
    list(running.run(images))
    assert running.profile.batch_size == extraction.guess_batch_size(16)
    assert running.profile.images_per_second == {}
    assert running.profile.seconds["forward"] > 0


def test_reading_goes_on_while_the_engine_computes(monkeypatch):
    monkeypatch.setattr(extraction, "number_of_workers", lambda: 2)
    together = threading.Barrier(2, timeout=20)
    met = []

    class Slow(list):
        def __getitem__(self, row):
            if row >= 256:
                met.append(together.wait())
            return super().__getitem__(row)

    def forward(pixels):
        if len(met) == 0:
            together.wait()
        return pixels[:, 0, 0].astype(np.float32)

    images = Slow(make_images(257, seed=0)[0])
    found = list(Pipeline(forward, lambda pixels: pixels, 12).run(images))
    assert sum(len(batch) for batch in found) == 257
    assert met


def test_an_error_of_the_engine_comes_out(pipeline):
    def forward(pixels):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        list(Pipeline(forward, lambda pixels: pixels, 16).run(make_images(9, 0)[0]))


@pytest.mark.parametrize("lazy", [False, True])
def test_resized_batches_are_the_rows_in_order_and_no_other_image_is_read(lazy):
    images, _ = make_images(12, seed=0)
    rows = np.array([11, 0, 2, 3, 4, 5, 7, 8, 9, 10])

    class Watched(list):
        def __getitem__(self, row):
            assert row in rows
            return super().__getitem__(row)

    given = Watched(images) if lazy else images
    batches = list(extraction.resized_batches(given, rows, lambda pixels: pixels, 4))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(batches), images[rows])


@pytest.mark.parametrize(("size", "batch"), [(32, 256), (64, 256), (96, 64), (224, 16), (600, 8)])
def test_the_guess_is_a_power_of_two_that_falls_with_the_size(size, batch):
    assert extraction.guess_batch_size(size) == batch


def test_an_engine_that_loses_an_image_is_refused():
    with pytest.raises(EngineError, match="8 features for a batch of 9 images"):
        list(Pipeline(lambda pixels: pixels[1:], lambda x: x, 16).run(make_images(9, 0)[0]))
