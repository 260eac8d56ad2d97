from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tests.tiny import Colours, Recorder, TinyBackbone
from tlkit import Registry, Trainer, TrainingError, Workflow, load_run
from tlkit.builtin.heads.dense import Dense
from tlkit.features import FeatureStore
from tlkit.phase_fitting import warn_if_worse

ALL_IMAGES = 1000


class Breaks(keras.callbacks.Callback):
    """Sets a learning rate that leads to NaN, from one epoch on."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch + 1 == self.epoch:
            self.model.optimizer.learning_rate = float("nan")


class Phases(Workflow):
    """A frozen phase and one of fine-tuning; either may break in an epoch."""

    name = "phases"

    def __init__(self, frozen=(2, 0), tuned=(0, 0), batch_size=32, ema=False):
        self.frozen, self.tuned, self.batch_size, self.ema = frozen, tuned, batch_size, ema

    def run(self, session):
        epochs, broken = self.frozen
        shared = {"batch_size": self.batch_size}
        session.train_head(
            epochs=epochs,
            optimizer=keras.optimizers.Adam(1e-2),
            callbacks=[Breaks(broken)],
            **shared,
        )
        epochs, broken = self.tuned
        if epochs:
            session.fine_tune(
                epochs=epochs,
                optimizer=keras.optimizers.Adam(1e-3, use_ema=self.ema),
                unfreeze_blocks="all",
                callbacks=[Breaks(broken)],
                **shared,
            )


@pytest.fixture
def run(tmp_path):
    def run(reporters=(), **options):
        return Trainer(
            backbone=TinyBackbone(),
            head=Dense(8),
            dataset=Colours(),
            workflow=Phases(**options),
            reporters=list(reporters),
            runs=tmp_path / "runs",
            store=FeatureStore(tmp_path / "features"),
            registry=Registry(entry_points=False),
        ).run()

    return run


@pytest.mark.parametrize(
    ("broken", "whole", "told"),
    [
        (
            {"frozen": (5, 3)},
            {"frozen": (2, 0)},
            "The phase frozen ended in epoch 3 of 5, with the weights of epoch 2. The training "
            "loss became nan. Lower the learning rate",
        ),
        (
            # One step in each epoch: its own loss is that of before it.
            {"frozen": (5, 3), "batch_size": ALL_IMAGES},
            {"frozen": (2, 0), "batch_size": ALL_IMAGES},
            "in epoch 3 of 5, with the weights of epoch 2. The validation loss became nan. Lower",
        ),
        (
            {"frozen": (2, 0), "tuned": (4, 2)},
            {"frozen": (2, 0), "tuned": (1, 0)},
            "The phase fine-tune ended in epoch 2 of 4, with the weights of epoch 1. The training "
            "loss became nan.",
        ),
    ],
    ids=["training loss", "validation loss", "in fine-tuning"],
)
def test_a_loss_that_is_nan_ends_the_phase_with_its_last_good_weights(run, broken, whole, told):
    result, expected = run(**broken), run(**whole)
    assert told in result.warnings[0]
    assert len(result.warnings) == 1
    assert [item.history for item in result.phases] == [item.history for item in expected.phases]
    np.testing.assert_array_equal(result.test.probabilities, expected.test.probabilities)
    assert load_run(result.folder).warnings == result.warnings
    saved = keras.models.load_model(result.folder / "model.keras", compile=False)
    assert all(np.isfinite(weight).all() for weight in saved.get_weights())


@pytest.mark.parametrize("ema", [False, True])
def test_the_first_epoch_of_a_later_phase_leaves_the_phase_before(run, capsys, ema):
    reporters = ["rich", "plots", "files", "html", "tensorboard"]
    result = run(reporters, frozen=(2, 0), tuned=(3, 1), ema=ema)
    expected = run(frozen=(2, 0))
    assert (
        "fine-tune ended in epoch 1 of 3, with the weights of the phase before"
        in (result.warnings[0])
    )
    assert len(result.warnings) == 1, "a reporter was dropped"
    assert result.phases[1].history == {}
    assert "no epoch of 3 was finished" in capsys.readouterr().out
    np.testing.assert_allclose(result.test.probabilities, expected.test.probabilities, atol=1e-6)


@pytest.mark.parametrize("batch_size", [32, ALL_IMAGES])
def test_the_first_epoch_of_all_leaves_nothing_and_no_folder(run, tmp_path, batch_size):
    recorder = Recorder()
    with pytest.raises(TrainingError, match=r"ended in epoch 1 of 3\. The .* loss became nan"):
        run([recorder], frozen=(3, 1), batch_size=batch_size)
    assert recorder.names()[-1] == "on_error"
    assert not list((tmp_path / "runs").iterdir())


def test_reporters_see_the_epochs_that_count(run):
    recorder = Recorder()
    result = run([recorder], frozen=(5, 3))
    ends = [args for name, args in recorder.events if name == "on_epoch_end"]
    assert [args[1] for args in ends] == [1, 2]
    (end,) = [args[0] for name, args in recorder.events if name == "on_run_end"]
    assert end.warnings == result.warnings


@pytest.mark.parametrize(
    ("loss", "accuracy", "warned"),
    [(0.5, 0.8, True), (0.5, 0.9, False), (0.4001, 0.7, False), (0.3, 0.7, False)],
)
def test_a_higher_loss_is_a_warning_unless_the_accuracy_rose(loss, accuracy, warned):
    phases = [
        SimpleNamespace(phase=SimpleNamespace(name="fine-tune"), figures=lambda found=found: found)
        for found in (
            {"val_loss": 0.4, "val_accuracy": 0.8},
            {"val_loss": loss, "val_accuracy": accuracy},
        )
    ]
    events = SimpleNamespace(warnings=[])
    warn_if_worse(phases, events)
    assert bool(events.warnings) is warned
