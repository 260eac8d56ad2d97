import keras
import numpy as np
import pytest

from tests.tiny import make_images
from tlkit import TrainingError, training_examples
from tlkit.fitting import Fitter
from tlkit.rows import Stacked
from tlkit.training_examples import Examples, epoch_order


def make_head():
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, "relu", kernel_regularizer=keras.regularizers.L2(1e-3)),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(3),
        ]
    )


@pytest.fixture
def examples():
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(100, 6)).astype(np.float32)
    labels = (inputs[:, 0] > 0).astype(np.int64) + (inputs[:, 1] > 0)
    return Examples(inputs, labels, np.arange(90))


def test_the_steps_are_those_of_keras_fit(examples):
    ours, theirs = make_head(), make_head()
    fitter = Fitter(ours, keras.optimizers.Adam(1e-2), batch_size=16)
    theirs.compile(
        keras.optimizers.Adam(1e-2),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    for epoch in (1, 2, 3):
        order = epoch_order(examples.rows, 0, epoch)
        metrics = fitter.train_epoch(examples, 0, epoch)
        history = theirs.fit(
            examples.inputs[order], examples.labels[order], 16, shuffle=False, verbose=0
        ).history
        assert metrics["loss"] == pytest.approx(history["loss"][0], abs=1e-5)
        assert metrics["accuracy"] == pytest.approx(history["accuracy"][0], abs=1e-6)
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)


def test_evaluate_is_in_inference_mode_and_uses_the_rows_alone(examples):
    model = make_head()
    held_out = Examples(examples.inputs, examples.labels, np.arange(90, 100))
    found = Fitter(model, keras.optimizers.Adam(), 4).evaluate(held_out)
    logits = model(examples.inputs[90:], training=False)
    losses = keras.losses.sparse_categorical_crossentropy(
        examples.labels[90:], logits, from_logits=True
    )
    assert found["loss"] == pytest.approx(float(np.mean(losses)), abs=1e-5)
    right = np.argmax(logits, axis=1) == examples.labels[90:]
    assert found["accuracy"] == pytest.approx(right.mean())


def test_a_lazy_sequence_trains_as_an_array_does():
    images, labels = make_images(20, seed=0, size=8)
    resize = keras.layers.Resizing(8, 8, antialias=True)
    weights = []
    for inputs in (images, list(images)):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)]
        )
        fitter = Fitter(model, keras.optimizers.Adam(1e-3), 8)
        fitter.train_epoch(Examples(inputs, labels, np.arange(20), resize), 0, 1)
        weights.append(model.get_weights()[0])
    np.testing.assert_allclose(*weights, atol=1e-6)


def test_progress_ends_with_every_row(examples):
    seen = []
    Fitter(make_head(), keras.optimizers.Adam(), 4).train_epoch(
        examples, 0, 1, lambda done, seconds: seen.append(done)
    )
    assert seen[-1] == 90
    assert seen == sorted(set(seen))


def test_a_loss_that_is_not_finite_stops_the_phase(examples):
    inputs = np.full_like(examples.inputs, np.nan)
    fitter = Fitter(make_head(), keras.optimizers.Adam(), 16)
    with pytest.raises(TrainingError, match=r"became nan\. Lower the learning rate"):
        fitter.train_epoch(Examples(inputs, examples.labels, examples.rows), 0, 1)


@pytest.mark.parametrize("chunk_bytes", [1, 2000, 10**6])
def test_inputs_larger_than_memory_are_streamed_with_the_same_result(
    examples, monkeypatch, tmp_path, chunk_bytes
):
    np.save(tmp_path / "inputs.npy", examples.inputs)
    mapped = np.load(tmp_path / "inputs.npy", mmap_mode="r")
    weights = []
    for limit in (2**30, 0):
        monkeypatch.setattr(training_examples, "MAX_HELD_BYTES", limit)
        monkeypatch.setattr(training_examples, "CHUNK_BYTES", chunk_bytes)
        keras.utils.set_random_seed(0)
        fitter = Fitter(make_head(), keras.optimizers.Adam(1e-2), 8)
        fitter.train_epoch(Examples(mapped, examples.labels, examples.rows), 0, 1)
        weights.append(fitter.model.get_weights())
    for mine, other in zip(*weights, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6)


def test_float16_features_train_as_their_float32_values_do(examples):
    half = examples.inputs.astype(np.float16)
    weights = []
    for inputs in (half, half.astype(np.float32)):
        fitter = Fitter(make_head(), keras.optimizers.Adam(1e-2), 8)
        fitter.train_epoch(Examples(inputs, examples.labels, examples.rows), 0, 1)
        weights.append(fitter.model.get_weights())
    for mine, other in zip(*weights, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6)


def test_stacked_views_keep_their_labels(examples):
    """Equal views train as the plain features do."""
    weights = []
    for inputs in (examples.inputs, Stacked([examples.inputs] * 3)):
        fitter = Fitter(make_head(), keras.optimizers.Adam(1e-2), 8)
        fitter.train_epoch(Examples(inputs, examples.labels, examples.rows), 0, 1)
        weights.append(fitter.model.get_weights())
    for mine, other in zip(*weights, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6)
