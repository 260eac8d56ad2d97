"""Batches that are too large for memory, made by a layer that refuses more than so many images."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tiny import TinyBackbone, make_images, make_tiny_trainer
from tlkit import EngineError
from tlkit.builtin.heads.dense import Dense
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain
from tlkit.extraction import Pipeline
from tlkit.out_of_memory import in_halves, is_out_of_memory


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("CUDA out of memory"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_for_want_of_memory_are_told_from_others(error, expected):
    assert is_out_of_memory(error) == expected


def refuse_above(limit):
    def double(batch):
        if len(batch) > limit:
            raise MemoryError
        return np.asarray(batch) * 2

    return double


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_halves_give_what_the_whole_batch_would(limit):
    sizes = []
    found = in_halves(refuse_above(limit), list(range(13)), sizes.append)
    np.testing.assert_array_equal(found, np.arange(13) * 2)
    assert bool(sizes) == (limit < 13)


def test_a_single_image_that_is_too_large_is_an_error():
    with pytest.raises(EngineError, match=r"single image \(MemoryError\)\. Use a smaller"):
        in_halves(refuse_above(0), [1, 2], lambda size: None)


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError):
        in_halves(lambda batch: 1 / 0, [1, 2], lambda size: None)


def test_extraction_steps_down_once_and_stays_there():
    seen = []

    def forward(pixels):
        seen.append(len(pixels))
        return refuse_above(5)(pixels[:, 0, 0])

    images, _ = make_images(100, 0, 16)
    pipeline = Pipeline(forward, lambda pixels: pixels.astype(np.float32), 16)
    pipeline._guess, pipeline._workers = 32, 1
    found = np.concatenate(list(pipeline.run(images)))
    np.testing.assert_array_equal(found, images[:, 0, 0].astype(np.float32) * 2)
    assert pipeline.profile.largest_batch == 4
    # 32, 16 and 8 fail in the first batches alone.
    assert sum(size > 5 for size in seen) < 10
    assert pipeline.take_profile().largest_batch == pipeline.profile.largest_batch == 4


@keras.saving.register_keras_serializable("tests")
class Narrow(keras.layers.Layer):
    """Passes its input on, unless the batch has more images than memory is said to hold."""

    limit = 8

    def call(self, inputs):
        def check(count):
            if count > self.limit:
                raise MemoryError

        with tf.control_dependencies([tf.py_function(check, [tf.shape(inputs)[0]], [])]):
            return tf.identity(inputs)


class NarrowBackbone(TinyBackbone):
    name = "narrow"

    def build(self):
        network = super().build()
        return keras.Model(network.inputs, Narrow()(network.outputs[0]))


def run(tmp_path, **changes):
    defaults = {
        "backbone": NarrowBackbone(),
        "head": Dense(8, dropout=0.0),
        "workflow": FreezeAndTrain(epochs=1, learning_rate=1e-2),
        "runs": None,
    }
    return make_tiny_trainer(tmp_path, **(defaults | changes)).run()


def test_a_run_with_too_little_memory_goes_on_with_smaller_batches_and_says_so(tmp_path):
    expected = run(tmp_path / "plain", backbone=TinyBackbone())
    result = run(tmp_path / "narrow")
    assert result.test.loss == pytest.approx(expected.test.loss, rel=1e-4)
    assert any("Memory ran out while the features of train" in text for text in result.warnings)
    assert max(item.batch_size for item in result.extractions) <= 8


@pytest.mark.parametrize("augment", [False, True])
def test_fine_tuning_takes_the_steps_of_whole_batches_in_parts(tmp_path, augment, monkeypatch):
    fine = {"epochs": 1, "fine_tune_epochs": 2, "learning_rate": 1e-2, "augment": augment}
    results = []
    for limit in (1000, 8):
        monkeypatch.setattr(Narrow, "limit", limit)
        workflow = FreezeAndTrain(**fine, unfreeze="all", batch_size=32, mixup=0.2 * augment)
        results.append(run(tmp_path / f"{limit}", workflow=workflow))
    whole, parts = results
    assert not whole.warnings or "parts of" not in " ".join(whole.warnings)
    assert any("batches of 32 images were worked on in parts of 8" in w for w in parts.warnings)
    for key, values in whole.phases[1].history.items():
        assert parts.phases[1].history[key] == pytest.approx(values, rel=1e-3), key
    for left, right in zip(whole.model.weights, parts.model.weights, strict=True):
        np.testing.assert_allclose(left.numpy(), right.numpy(), atol=2e-5)


def test_a_single_image_that_is_too_large_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(Narrow, "limit", 0)
    with pytest.raises(EngineError, match="Memory runs out with a single image"):
        run(tmp_path)
