"""Runs that are interrupted anywhere end, when they are resumed, as if nothing had happened."""

import json
import shutil
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.tiny import Colours, Recorder, TinyBackbone, make_images, make_tiny_trainer
from tlkit import (
    DataError,
    Reporter,
    RunFolderError,
    TestTimeAugmentation,
    Trainer,
    Workflow,
    load_run,
)
from tlkit.beginning import BEGUN, read_begun
from tlkit.builtin.datasets.cifar import CIFAR10
from tlkit.builtin.heads.logistic import Logistic
from tlkit.builtin.heads.mlp import MLP
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain
from tlkit.checked_json import write_checked_json
from tlkit.checkpoint import CHECKPOINT
from tlkit.run_folder import config_text, load_model, own
from tlkit.runtime import runs_one_thread_per_operation

FINE_TUNED = {
    "epochs": 2,
    "fine_tune_epochs": 3,
    "unfreeze": 1,
    "learning_rate": 1e-2,
    "fine_tune_learning_rate": 1e-3,
}
CASES = {
    "dropout": {"head": {"name": "dense", "units": 8, "dropout": 0.5}},
    "batch normalisation, stored views": {"head": MLP([8]), "views": 1},
    "solved head": {"head": Logistic(), "workflow": FreezeAndTrain()},
    "solved head, then fine-tuning": {
        "head": Logistic(),
        "workflow": FreezeAndTrain(**FINE_TUNED, ema=0.9),
    },
    "mixed, augmented, averaged, gradual": {
        "workflow": FreezeAndTrain(
            **FINE_TUNED | {"unfreeze": "all"},
            augment=True,
            mixup=0.2,
            cutmix=0.5,
            ema=0.9,
            layer_decay=0.8,
            unfreeze_every=1,
            schedule="cosine",
            warmup=0.2,
        )
    },
    "early stopping, views of the test": {
        "workflow": FreezeAndTrain(**FINE_TUNED | {"epochs": 6}, early_stopping=1),
        "test_time_augmentation": TestTimeAugmentation(mirror=True),
    },
    "started from a finished run": {
        "start_from": "parent",
        "workflow": FreezeAndTrain(**FINE_TUNED),
    },
}


class Stop(KeyboardInterrupt):
    pass


class StopAt(Reporter):
    """Interrupts at the so-many-th event, which Events lets pass, as it does Ctrl-C."""

    def __init__(self, number):
        self.left, self.seen = number, []

    def __getattribute__(self, key):
        if not key.startswith("on_") or key == "on_error":
            return super().__getattribute__(key)

        def event(*args, **kwargs):
            self.seen.append(key)
            self.left -= 1
            if self.left == 0:
                raise Stop

        return event


@pytest.fixture
def make_trainer(tmp_path):
    return partial(
        make_tiny_trainer, tmp_path, workflow=FreezeAndTrain(epochs=4, learning_rate=1e-2)
    )


def figures(folder: Path):
    """Return what a run found out, without seconds and versions."""
    record = json.loads((folder / "run.json").read_text())
    phases = [{**phase, "seconds": None} for phase in record["phases"]]
    weights = [weight.numpy() for weight in load_model(folder).weights]
    lineage = record["info"].get("lineage")
    return {"test": record["test"], "phases": phases, "lineage": lineage}, weights


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_ends_as_if_it_had_not_been_interrupted(make_trainer, case, tmp_path):
    settings = dict(CASES[case])
    if "start_from" in settings:
        settings["start_from"] = make_trainer(runs=tmp_path / "parents").run().folder
    whole = make_trainer(**settings).run()
    expected, weights = figures(whole.folder)
    watch = StopAt(0)
    trainer = make_trainer(**settings)
    trainer.listeners = [watch]
    trainer.run()
    # Two interruptions of one run, anywhere after its folder was made.
    first = watch.seen.index("on_run_begin") + 1
    # The cases are interrupted at other places each, so that few of them are enough.
    generator = np.random.default_rng(list(CASES).index(case))
    places = generator.integers(first, len(watch.seen), (2, 2))
    for before, again in places:
        trainer = make_trainer(**settings)
        trainer.listeners = [StopAt(int(before))]
        with pytest.raises(Stop):
            trainer.run()
        folder = max((trainer.runs).iterdir(), key=lambda path: path.stat().st_mtime_ns)
        with pytest.raises(RunFolderError, match="tlkit resume"):
            load_run(folder)
        trainer = make_trainer(**settings)
        trainer.listeners = [StopAt(int(again))]
        try:
            trainer.resume(folder)
        except Stop:
            make_trainer(**settings).resume(folder)
        found, now = figures(folder)
        assert found == expected, (before, again)
        for left, right in zip(weights, now, strict=True):
            np.testing.assert_array_equal(left, right)
        assert not (folder / CHECKPOINT).exists()


def begun(make_trainer, event="on_epoch_end", count=2, **changes):
    """Return the folder of a run that was interrupted at an event."""

    class Interrupting(Reporter):
        left = count

    def stop(self, *args, **kwargs):
        self.left -= 1
        if self.left == 0:
            raise Stop

    setattr(Interrupting, event, stop)
    trainer = make_trainer(**changes)
    trainer.listeners = [Interrupting()]
    with pytest.raises(Stop):
        trainer.run()
    return max(trainer.runs.iterdir(), key=lambda path: path.stat().st_mtime_ns)


class Epochs(Reporter):
    def __init__(self):
        self.seen = []

    def on_epoch_end(self, phase, epoch, metrics, seconds, **kwargs):
        self.seen.append((epoch, kwargs.get("restored", False)))


def test_epochs_that_are_over_are_told_and_not_trained_again(make_trainer):
    folder = begun(make_trainer)
    trainer, reporter = make_trainer(), Epochs()
    trainer.listeners = [reporter]
    result = trainer.resume(folder)
    assert reporter.seen == [(1, True), (2, True), (3, False), (4, False)]
    assert result.seconds["total"] >= result.seconds["training"] > 0


def test_a_run_with_another_config_or_a_finished_one_cannot_be_resumed(make_trainer, tmp_path):
    folder = begun(make_trainer)
    with pytest.raises(
        RunFolderError,
        match=r"begun with other settings; they are in .*config\.toml: run\.seed was 0 and is 1\. "
        r"Resume it with those, or begin a new run with these\.",
    ):
        make_trainer(seed=1).resume(folder)
    make_trainer().resume(folder)
    with pytest.raises(RunFolderError, match="is finished"):
        make_trainer().resume(folder)
    with pytest.raises(RunFolderError, match="does not exist"):
        make_trainer().resume(tmp_path / "nothing")
    with pytest.raises(RunFolderError, match="is no run folder"):
        make_trainer().resume(tmp_path)


def test_changed_data_and_changed_weights_are_named(make_trainer, monkeypatch):
    folder = begun(make_trainer)
    load = Colours.load

    def changed(self, seed):
        data = load(self, seed)
        data.test.images[0, 0, 0, 0] ^= 1
        return data

    monkeypatch.setattr(Colours, "load", changed)
    with pytest.raises(
        RunFolderError,
        match=r"these were changed:\n  the test images \(SHA-256 \w{12}, now \w{12}\)\nPut that "
        r"back as it was and resume, or begin a new run: .*tlkit run ",
    ):
        make_trainer().resume(folder)
    monkeypatch.setattr(Colours, "load", load)
    build = TinyBackbone.build

    def other(self):
        network = build(self)
        network.weights[0].assign(network.weights[0] * 2)
        return network

    monkeypatch.setattr(TinyBackbone, "build", other)
    trainer, recorder = make_trainer(), Recorder()
    trainer.listeners = [recorder]
    with pytest.raises(RunFolderError, match=r"were changed:\n  the backbone's pretrained weights"):
        trainer.resume(folder)
    # The notes of a run say where it goes on.
    assert "on_run_begin" not in recorder.names()


def test_changed_settings_are_named_before_anything_is_loaded(make_trainer, monkeypatch):
    folder = begun(make_trainer)
    config = folder / "config.toml"
    text = config.read_text().replace("\nseed = 0", "\nseed = 1", 1)
    config.write_text(text.replace("\nlearning_rate = 0.01", "\nlearning_rate = 0.02"))
    monkeypatch.setattr(Colours, "load", None)
    trainer = make_trainer(seed=1, workflow=FreezeAndTrain(epochs=4, learning_rate=2e-2))
    with pytest.raises(RunFolderError) as error:
        trainer.resume(folder)
    first, *changed, last = str(error.value).splitlines()
    assert first.endswith("since it began, these were changed:")
    assert changed == [
        "  run.seed was 0 and is 1",
        "  workflow.learning_rate was 0.01 and is 0.02",
    ]
    assert "begin a new run" in last


def test_a_changed_parent_is_named(make_trainer, tmp_path):
    parent = make_trainer(runs=tmp_path / "parents").run().folder
    folder = begun(make_trainer, start_from=parent)
    other = make_trainer(runs=tmp_path / "others", seed=1).run().folder
    (parent / "model.keras").write_bytes((other / "model.keras").read_bytes())
    with pytest.raises(RunFolderError, match="were changed:\n  the model that the run starts from"):
        make_trainer(start_from=parent).resume(folder)


def test_another_version_is_told(make_trainer, monkeypatch):
    folder = begun(make_trainer)
    monkeypatch.setattr("tlkit.training_run.environment", lambda modules: {"keras": "99.0"})
    (warning,) = make_trainer().resume(folder).warnings
    assert warning.endswith("is now 99.0: its figures may differ.")
    assert f"keras {keras.__version__}" in warning


@pytest.mark.parametrize("content", [b"", b"PK", b"damaged" * 100])
def test_a_damaged_checkpoint_means_that_the_phase_begins_again(make_trainer, content):
    expected = make_trainer(runs=None).run().test.accuracy
    folder = begun(make_trainer)
    (folder / CHECKPOINT / "phase-1.npz").write_bytes(content)
    result = make_trainer().resume(folder)
    (warning,) = result.warnings
    path = folder / CHECKPOINT / "phase-1.npz"
    assert warning == f"Phase frozen begins anew: its checkpoint {path} is damaged."
    assert noted(result) == [f"Resumed after an interruption. {warning}"]
    assert result.test.accuracy == expected


def noted(result):
    """Return what the notes, which are on the screen when the run begins, say of the resuming."""
    first = next(place for place, note in enumerate(result.info.notes) if "Resumed" in note)
    return list(result.info.notes[first:])


def test_the_notes_say_from_where_a_run_goes_on(make_trainer):
    two = {"workflow": FreezeAndTrain(**FINE_TUNED)}
    folder = begun(make_trainer, count=4, **two)
    result = make_trainer(**two).resume(folder)
    assert noted(result) == [
        "Resumed after an interruption: phase fine-tune goes on after epoch 2 of 3."
    ]
    assert not result.warnings


def test_between_two_phases_the_first_one_is_over(make_trainer):
    changes = {"head": Logistic(), "workflow": FreezeAndTrain(**FINE_TUNED)}
    folder = begun(make_trainer, event="on_phase_end", count=1, **changes)
    (folder / CHECKPOINT / "phase-1.keras").write_bytes(b"PK")
    result = make_trainer(**changes).resume(folder)
    (warning,) = [text for text in result.warnings if "solved" in text]
    assert warning.startswith("Phase frozen begins anew: its solved head")
    assert noted(result) == [f"Resumed after an interruption. {warning}"]
    again = begun(make_trainer, event="on_phase_end", count=1, **changes)
    result = make_trainer(**changes).resume(again)
    assert noted(result) == [
        "Resumed after an interruption: phase frozen is over, and what comes after it follows."
    ]


def test_an_interrupt_before_the_first_epoch_is_over_loses_no_training(make_trainer):
    folder = begun(make_trainer, event="on_phase_begin", count=1)
    result = make_trainer().resume(folder)
    assert noted(result) == [
        "Resumed after an interruption: the training begins with the first epoch."
    ]
    assert not result.warnings


def test_a_run_folder_without_its_hidden_folder_says_so_at_once(make_trainer):
    expected = make_trainer(runs=None).run().test.accuracy
    folder = begun(make_trainer)
    shutil.rmtree(folder / CHECKPOINT)
    result = make_trainer().resume(folder)
    (warning,) = result.warnings
    assert warning.startswith(f"{folder / CHECKPOINT} is missing")
    assert "the training begins anew, and it cannot be checked that data" in warning
    assert f"the result is right for the {folder / 'config.toml'} that is there" in warning
    assert noted(result) == [f"Resumed after an interruption. {warning}"]
    assert result.test.accuracy == expected


@pytest.mark.parametrize("content", [None, b"{}"])
def test_a_run_that_lost_what_it_began_with_keeps_its_training_and_says_so(make_trainer, content):
    folder = begun(make_trainer)
    if content is None:
        (folder / CHECKPOINT / BEGUN).unlink()
    else:
        (folder / CHECKPOINT / BEGUN).write_bytes(content)
    reporter, trainer = Epochs(), make_trainer()
    trainer.listeners = [reporter]
    result = trainer.resume(folder)
    (warning,) = result.warnings
    assert f"{BEGUN} is {'missing' if content is None else 'damaged'}: it cannot be" in warning
    assert noted(result)[1:] == [warning]
    assert reporter.seen[:3] == [(1, True), (2, True), (3, False)]


def interrupt_again(make_trainer, folder):
    """Resume a run, and interrupt it after its first new epoch."""

    class Interrupting(Reporter):
        def on_epoch_end(self, *args, restored=False, **kwargs):
            if not restored:
                raise Stop

    trainer = make_trainer()
    trainer.listeners = [Interrupting()]
    with pytest.raises(Stop):
        trainer.resume(folder)


def test_what_could_not_be_checked_is_said_by_the_run_that_ends(make_trainer):
    folder = begun(make_trainer, count=1)
    (folder / CHECKPOINT / BEGUN).unlink()
    interrupt_again(make_trainer, folder)
    interrupt_again(make_trainer, folder)
    result = make_trainer().resume(folder)
    (warning,) = result.warnings
    assert warning == (
        f"{folder / CHECKPOINT / BEGUN} was missing when the run was resumed before: it cannot be "
        f"checked that data, weights and settings are those that the run began with."
    )
    assert noted(result)[1:] == [warning]
    assert json.loads((folder / "run.json").read_text())["warnings"] == [warning]


def test_a_run_that_lost_all_says_so_when_it_ends_after_another_interruption(make_trainer):
    folder = begun(make_trainer)
    shutil.rmtree(folder / CHECKPOINT)
    interrupt_again(make_trainer, folder)
    (warning,) = make_trainer().resume(folder).warnings
    assert warning.startswith("What the run began with was lost when the run was resumed before")
    assert warning.endswith(f"the result is right for the {folder / 'config.toml'} that is there.")


def test_without_any_whole_file_it_is_not_said_that_the_training_is_kept(make_trainer):
    folder = begun(make_trainer)
    (folder / CHECKPOINT / BEGUN).unlink()
    (folder / CHECKPOINT / "phase-1.npz").write_bytes(b"damaged")
    first, second = make_trainer().resume(folder).warnings
    assert first.endswith(f"The result is right for the {folder / 'config.toml'} that is there.")
    assert second.startswith("Phase 1 begins anew")


def test_a_state_that_is_gone_is_missed(make_trainer):
    folder = begun(make_trainer)
    path = folder / CHECKPOINT / "phase-1.npz"
    path.unlink()
    result = make_trainer().resume(folder)
    (warning,) = result.warnings
    assert warning == f"Phase frozen begins anew: its checkpoint {path} is missing."
    assert noted(result) == [f"Resumed after an interruption. {warning}"]


@pytest.mark.parametrize(
    "change", [{"phases": {"99999999": "frozen"}}, {"config": "= no TOML"}, {"lost": "other"}]
)
def test_facts_that_no_run_notes_are_damaged(tmp_path, change):
    facts = {"began": "", "config": "", "fingerprints": {}, "versions": {}}
    write_checked_json(tmp_path / BEGUN, facts)
    assert read_begun(tmp_path)
    write_checked_json(tmp_path / BEGUN, facts | change)
    assert read_begun(tmp_path) is None


def test_a_phase_whose_checkpoint_is_missing_is_named(make_trainer):
    two = {"workflow": FreezeAndTrain(**FINE_TUNED)}
    folder = begun(make_trainer, count=4, **two)
    (folder / CHECKPOINT / "phase-1.npz").unlink()
    result = make_trainer(**two).resume(folder)
    (warning,) = result.warnings
    assert warning.startswith("Phase frozen begins anew")
    assert noted(result) == [
        "Resumed after an interruption: phase fine-tune goes on after epoch 2 of 3.",
        warning,
    ]


def test_what_no_figure_depends_on_may_differ(make_trainer):
    folder = begun(make_trainer)
    trainer = make_trainer(name="other", save=["keras", "h5"], reporters=[Recorder()])
    result = trainer.resume(folder)
    assert (folder / "model.h5").exists()
    assert not result.warnings
    assert 'name = "other"' in (folder / "config.toml").read_text()


def test_states_are_not_kept_after_each_short_epoch_but_at_an_interrupt(make_trainer, monkeypatch):
    monkeypatch.setattr("tlkit.checkpoint.SECONDS_BETWEEN", 1e6)
    writes = []
    save = np.savez

    def counting(file, **arrays):
        writes.append(len(arrays))
        save(file, **arrays)

    monkeypatch.setattr("tlkit.training_state.np.savez", counting)
    folder = begun(make_trainer, count=3)
    assert len(writes) == 2  # the first epoch, and the last at the interrupt
    reporter, trainer = Epochs(), make_trainer()
    trainer.listeners = [reporter]
    result = trainer.resume(folder)
    assert [epoch for epoch, restored in reporter.seen if restored] == [1, 2, 3]
    assert result.seconds["checkpoints"] > 0


def test_tensorflow_is_started_as_it_was(make_trainer, monkeypatch):
    folder = begun(make_trainer)
    wanted = []
    monkeypatch.setattr(
        "tlkit.machines.require_tensorflow_backend",
        lambda *, one_thread_per_operation: wanted.append(one_thread_per_operation),
    )
    now = runs_one_thread_per_operation()
    monkeypatch.setattr("tlkit.training_run.runs_one_thread_per_operation", lambda: not now)
    trainer = make_trainer()
    trainer.one_thread_per_operation = not now
    (warning,) = trainer.resume(folder).warnings
    assert set(wanted) == {now}
    assert f"one_thread_per_operation = {not now}, and with {now} when the run began" in warning


def test_a_relative_path_of_the_data_set_is_explained(make_trainer, tmp_path, monkeypatch):
    images, labels = make_images(30, 1)
    home = tmp_path / "home"
    home.mkdir()
    np.savez(home / "data.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    monkeypatch.chdir(home)
    folder = begun(make_trainer, dataset=CIFAR10("data.npz"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as error:
        make_trainer(dataset=CIFAR10("data.npz")).resume(folder)
    assert error.value.__notes__ == [
        f"dataset.path = 'data.npz' is relative to the folder that the run was begun in, {home}; "
        f"this is {tmp_path}. Resume it from there."
    ]


def test_a_flipped_byte_of_a_checkpoint_is_found(make_trainer):
    folder = begun(make_trainer)
    path = folder / CHECKPOINT / "phase-1.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "is damaged" in make_trainer().resume(folder).warnings[0]


def test_a_run_at_work_cannot_be_resumed(make_trainer):
    caught = []

    class Resuming(Reporter):
        def on_epoch_end(self, *args, **kwargs):
            (folder,) = trainer.runs.iterdir()
            with pytest.raises(RunFolderError) as error:
                make_trainer().resume(folder)
            caught.append(str(error.value))

    trainer = make_trainer()
    trainer.listeners = [Resuming()]
    trainer.run()
    assert caught
    assert all("A run is at work in" in text for text in caught)


def test_a_run_at_work_is_found_before_anything_is_loaded(make_trainer, monkeypatch):
    folder = begun(make_trainer)
    monkeypatch.setattr(Colours, "load", None)
    with own(folder), pytest.raises(RunFolderError, match="A run is at work in"):
        make_trainer().resume(folder)


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_run(make_trainer, monkeypatch):
    def full(self, number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tlkit.checkpoint.Checkpoints._file", full)
    monkeypatch.setattr("tlkit.checkpoint.Checkpoints.load", lambda self, number: None)
    result = make_trainer().run()
    (warning,) = result.warnings
    assert "Epochs are not kept" in warning
    assert "No space left" in warning


def test_a_full_disk_at_the_end_is_mended_by_resuming(make_trainer, monkeypatch):
    expected = make_trainer(runs=None).run()
    with monkeypatch.context() as patch:
        patch.setattr("tlkit.run_folder.write_model", full_disk)
        trainer = make_trainer()
        with pytest.raises(RunFolderError, match=r"No space left.*go on with `tlkit resume"):
            trainer.run()
    (folder,) = trainer.runs.iterdir()
    assert [path.name for path in folder.iterdir() if path.name.startswith(".tlkit")] == []
    reporter = Epochs()
    trainer = make_trainer()
    trainer.listeners = [reporter]
    assert trainer.resume(folder).test.accuracy == expected.test.accuracy
    assert all(restored for _, restored in reporter.seen)


def full_disk(*args, **kwargs):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(("content", "kept"), [(None, True), (b"damaged", False)])
def test_ctrl_c_before_the_first_new_epoch_says_what_is_kept(
    make_trainer, tlkit_command, monkeypatch, content, kept
):
    def interrupted(self, folder):
        raise KeyboardInterrupt

    folder = begun(make_trainer)
    config = config_text(Trainer(dataset="digits", runs=None).config)
    (folder / "config.toml").write_text(config)
    if content is not None:
        (folder / CHECKPOINT / "phase-1.npz").write_bytes(content)
    monkeypatch.setattr(Trainer, "resume", interrupted)
    monkeypatch.setattr("tlkit.answering.exit_on_next_interrupt", lambda: None)
    code, _, err = tlkit_command("resume", str(folder))
    assert code == 130
    assert f"tlkit resume {folder}" in err
    assert ("Kept: what was trained before;" in err) == kept


class TwoHeads(Workflow):
    """A workflow whose second phase has another number of epochs each time that it is made."""

    name = "two_heads"
    epochs = 2

    def run(self, session):
        for name, epochs in (("one", 1), ("two", TwoHeads.epochs)):
            optimizer = keras.optimizers.Adam(1e-2)
            session.train_head(epochs=epochs, optimizer=optimizer, name=name)


def test_a_workflow_that_was_changed_is_refused(make_trainer, monkeypatch):
    folder = begun(make_trainer, workflow=TwoHeads(), count=2)
    monkeypatch.setattr(TwoHeads, "epochs", 3)
    with pytest.raises(RunFolderError, match=r"phase 2 is of another one: epochs was 2 and is 3\."):
        make_trainer(workflow=TwoHeads()).resume(folder)


class Plateau(Workflow):
    """A workflow whose callbacks count how often nothing got better by enough."""

    name = "plateau"

    def run(self, session):
        callbacks = [
            keras.callbacks.ReduceLROnPlateau(patience=1, min_delta=0.05),
            keras.callbacks.EarlyStopping(min_delta=0.01, patience=6, restore_best_weights=True),
        ]
        session.train_head(epochs=12, optimizer=keras.optimizers.Adam(1e-2), callbacks=callbacks)


def test_callbacks_of_keras_go_on_as_they_were(make_trainer):
    expected, weights = figures(make_trainer(workflow=Plateau(), name="whole").run().folder)
    trainer = make_trainer()
    folder = begun(make_trainer, workflow=Plateau(), count=7, runs=trainer.runs / "other")
    make_trainer(workflow=Plateau(), runs=trainer.runs / "other").resume(folder)
    found, now = figures(folder)
    assert found == expected
    for left, right in zip(weights, now, strict=True):
        np.testing.assert_array_equal(left, right)


class Remembering(keras.callbacks.Callback):
    """Sums up what it saw in containers, and holds what no file can."""

    def __init__(self):
        super().__init__()
        self.losses, self.seen = [], {}
        self.generator = np.random.default_rng(0)

    def on_epoch_end(self, epoch, logs=None):
        self.losses.append(logs["loss"])
        self.seen[epoch] = (logs["val_loss"],)


class WithCallbacks(Workflow):
    name = "with_callbacks"

    def __init__(self, *callbacks):
        self.callbacks = callbacks

    def run(self, session):
        optimizer = keras.optimizers.Adam(1e-2)
        session.train_head(epochs=4, optimizer=optimizer, callbacks=self.callbacks)


def test_containers_of_a_callback_are_kept_and_what_is_lost_is_named(make_trainer):
    folder = begun(make_trainer, workflow=WithCallbacks(Remembering()))
    callback = Remembering()
    result = make_trainer(workflow=WithCallbacks(callback)).resume(folder)
    history = result.phases[0].history
    assert callback.losses == history["loss"]
    assert callback.seen == {n: (loss,) for n, loss in enumerate(history["val_loss"])}
    (warning,) = result.warnings
    assert "callback Remembering begins anew with generator (Generator)" in warning
    assert noted(result)[1:] == [warning]


def test_other_callbacks_than_at_the_beginning_are_named(make_trainer):
    folder = begun(make_trainer, workflow=WithCallbacks(Remembering()))
    result = make_trainer(workflow=WithCallbacks()).resume(folder)
    assert "which begin anew: none instead of Remembering" in result.warnings[-1]


def test_an_edited_config_is_refused(make_trainer):
    folder = begun(make_trainer)
    path = folder / "config.toml"
    text = path.read_text().replace("learning_rate = 0.01", "learning_rate = 0.1")
    path.write_text(text)
    changed = FreezeAndTrain(epochs=4, learning_rate=0.1)
    with pytest.raises(RunFolderError, match=r"workflow\.learning_rate was 0\.01 and is 0\.1"):
        make_trainer(workflow=changed).resume(folder)
