import multiprocessing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_extraction import Mixed
from tests.test_model import OwnConfig
from tests.tiny import TinyBackbone, make_images
from tlkit import fingerprint
from tlkit.builtin.heads.linear import Linear
from tlkit.model import assemble


def _digest(backbone, head=None, seed=0):
    import keras

    keras.utils.set_random_seed(seed)
    head = head or Linear()
    return fingerprint.digest_model(assemble(backbone, head, 3), backbone, head)


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


def test_the_fingerprint_depends_on_the_config_of_a_network_that_has_its_own():
    class Whole(TinyBackbone):
        own = 1.0

        def build(self):
            import keras

            inputs = keras.Input((16, 16, 3))
            return keras.Model(inputs, OwnConfig(self.own)(inputs))

    class Other(Whole):
        own = 2.0

    Other.__qualname__ = Whole.__qualname__
    assert _digest(Whole()) == _digest(Whole())
    assert _digest(Whole()) != _digest(Other())


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
    before = fingerprint.digest_images(images)
    images.reshape(-1)[position] ^= np.uint8(change)
    assert fingerprint.digest_images(images) != before


def test_images_digest_sees_order_and_shape():
    images, _ = make_images(10, seed=0, size=4)
    digests = {
        fingerprint.digest_images(images),
        fingerprint.digest_images(images[::-1]),
        fingerprint.digest_images(images.reshape(10, 2, 8, 3)),
        fingerprint.digest_images(Mixed(images)),
    }
    assert len(digests) == 4


def test_the_key_depends_on_every_setting():
    keys = {
        fingerprint.fingerprint("model", "images"),
        fingerprint.fingerprint("model", "others"),
        fingerprint.fingerprint("other", "images"),
        fingerprint.fingerprint("model", "images", dtype="float16"),
        fingerprint.fingerprint("model", "images", dtype="float32"),
        fingerprint.fingerprint("model", "images", dtype="float32", view=1),
        fingerprint.fingerprint("model", "images", dtype="float32", view=2),
    }
    assert len(keys) == 7
