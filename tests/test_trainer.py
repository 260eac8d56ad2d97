import dataclasses
import json
import tomllib

import keras
import numpy as np
import pytest

from tests.tiny import CLASS_NAMES, Colours, Recorder, TinyBackbone, make_images
from tlkit import (
    Augmentation,
    ConfigError,
    DataError,
    DatasetSource,
    Engine,
    ImageData,
    PluginError,
    Registry,
    Reporter,
    Split,
    Trainer,
    Workflow,
    load_run,
)
from tlkit.builtin.heads.dense import Dense
from tlkit.builtin.heads.linear import Linear
from tlkit.builtin.heads.mlp import MLP
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain
from tlkit.features import FeatureStore
from tlkit.fitting import Examples, Fitter
from tlkit.model import assemble


@pytest.fixture
def make_trainer(tmp_path):
    def make(**changes):
        arguments = {
            "backbone": TinyBackbone(),
            "head": Dense(8),
            "dataset": Colours(),
            "workflow": FreezeAndTrain(epochs=2, learning_rate=1e-2),
            "reporters": [],
            "runs": tmp_path / "runs",
            "store": FeatureStore(tmp_path / "features"),
            "registry": Registry(entry_points=False),
        }
        return Trainer(**(arguments | changes))

    return make


def test_a_run_learns_saves_and_reads_back(make_trainer):
    result = make_trainer(workflow=FreezeAndTrain(epochs=40, learning_rate=1e-2)).run()
    assert result.accuracy > 0.9
    assert result.test.confusion_matrix.sum() == 30
    assert set(result.seconds) == {
        "start", "data", "model", "features", "training", "evaluation", "saving", "reports", "total"
    }  # fmt: skip
    assert {item.name for item in result.folder.iterdir()} == {
        "config.toml", "run.json", "predictions.npz", "model.keras"
    }  # fmt: skip
    loaded = load_run(result.folder)
    assert loaded.phases == result.phases
    assert loaded.info.class_names == CLASS_NAMES
    np.testing.assert_array_equal(loaded.test.probabilities, result.test.probabilities)
    np.testing.assert_array_equal(loaded.test.confusion_matrix, result.test.confusion_matrix)
    assert loaded.fingerprints == result.fingerprints


def test_the_saved_model_agrees_with_the_predictions(make_trainer):
    result = make_trainer(save=["keras", "h5"]).run()
    for name in ("model.keras", "model.h5"):
        model = keras.models.load_model(result.folder / name, compile=False)
        found = model.predict(Colours().load(0).test.images, verbose=0)
        np.testing.assert_allclose(found, result.test.probabilities, atol=1e-5)


def test_h5_is_refused_before_training_where_keras_could_not_read_it(make_trainer):
    class Bare(TinyBackbone):
        def build(self):
            network = super().build()
            return keras.Model(network.input, network.output + 3.0)

    with pytest.raises(ConfigError, match="cannot read operations"):
        make_trainer(backbone=Bare(), save=["keras", "h5"]).run()
    assert make_trainer(backbone=Bare()).run().folder is not None


def test_seeds_make_two_runs_equal_and_other_seeds_do_not(make_trainer, tmp_path):
    fine_tuned = FreezeAndTrain(epochs=2, fine_tune_epochs=1, unfreeze=2)
    first, cold, other = (
        make_trainer(seed=seed, workflow=fine_tuned, store=FeatureStore(tmp_path / name)).run()
        for seed, name in ((5, "a"), (5, "b"), (6, "c"))
    )
    warm = make_trainer(seed=5, workflow=fine_tuned, store=FeatureStore(tmp_path / "a")).run()
    assert warm.feature_cache == {"train": "stored"}
    for again in (cold, warm):
        np.testing.assert_array_equal(again.test.probabilities, first.test.probabilities)
        assert [p.history for p in again.phases] == [p.history for p in first.phases]
    assert not np.array_equal(other.test.probabilities, first.test.probabilities)


@pytest.mark.parametrize(
    "head", [Dense(8), Linear(), Linear("max"), MLP([8, 4]), MLP([8], batch_norm=False)], ids=repr
)
def test_training_on_stored_features_equals_training_through_the_frozen_backbone(
    make_trainer, head
):
    stored = make_trainer(head=head, seed=1, validation="test").run()
    backbone, data = TinyBackbone(), Colours().load(1)
    keras.utils.set_random_seed(1)
    network = backbone.build()
    keras.utils.set_random_seed(1)
    model = assemble(backbone, head, 3, network=network)
    fitter = Fitter(model.logits, keras.optimizers.Adam(1e-2), 32)
    examples = Examples(data.train.images, data.train.labels, np.arange(90))
    for epoch in (1, 2):
        fitter.train_epoch(examples, 1, epoch)
    theirs = {weight.path: weight for weight in stored.model.weights}
    assert len(theirs) == len(model.model.weights)
    for weight in model.model.weights:
        np.testing.assert_allclose(weight.numpy(), theirs[weight.path].numpy(), atol=1e-5)


def test_fine_tuning_changes_the_last_blocks_and_no_batch_normalisation(make_trainer):
    workflow = FreezeAndTrain(
        epochs=1, fine_tune_epochs=2, unfreeze=2, fine_tune_learning_rate=1e-2
    )
    frozen = make_trainer(workflow=FreezeAndTrain(epochs=1)).run()
    result = make_trainer(workflow=workflow).run()
    before = {weight.path: weight.numpy() for weight in frozen.model.weights}
    moved = {
        weight.path
        for weight in result.model.weights
        if not np.array_equal(weight.numpy(), before[weight.path])
    }
    assert {path for path in moved if path.startswith(("conv", "norm"))} == {
        "conv_2/kernel", "conv_2/bias"
    }  # fmt: skip
    assert [phase.phase.name for phase in result.phases] == ["frozen", "fine-tune"]
    head = Dense(8).build((16,), 3).count_params()
    assert result.phases[0].phase.trainable_parameters == head
    assert result.phases[1].phase.trainable_parameters == head + 8 * 9 * 16 + 16
    loaded = keras.models.load_model(result.folder / "model.keras", compile=False)
    found = loaded.predict(Colours().load(0).test.images, verbose=0)
    np.testing.assert_allclose(found, result.test.probabilities, atol=1e-5)


def test_reporters_see_every_event_in_order(make_trainer):
    recorder = Recorder()
    make_trainer(
        reporters=[recorder], workflow=FreezeAndTrain(epochs=2, fine_tune_epochs=1, unfreeze=1)
    ).run()
    names = [name for name in recorder.names() if "progress" not in name]
    epochs = [
        "on_engine_chosen",
        "on_phase_begin",
        "on_epoch_end",
        "on_epoch_end",
        "on_phase_end",
    ]
    fine = ["on_phase_begin", "on_epoch_end", "on_phase_end"]
    assert names == ["on_run_begin", *epochs, *fine, "on_run_end"]
    assert {"on_extract_progress", "on_epoch_progress"} <= set(recorder.names())


def test_listeners_see_the_same_and_are_no_part_of_the_config(make_trainer):
    reporter, listener = Recorder(), Recorder()
    trainer = make_trainer(reporters=[reporter])
    trainer.listeners = [listener]
    trainer.run()
    assert listener.names() == reporter.names()
    assert len(trainer.config["reporters"]) == 1


def test_a_reporter_that_raises_never_loses_the_run(make_trainer):
    class Raises(Reporter):
        name = "raises"

        def on_run_end(self, result, **kwargs):
            raise OSError("disk full")

    with pytest.warns(RuntimeWarning, match="disk full"):
        result = make_trainer(reporters=[Raises()]).run()
    assert "disk full" in result.warnings[0]
    assert load_run(result.folder).warnings == result.warnings


def test_an_error_reaches_the_reporters_and_the_caller(make_trainer):
    class Fails(Workflow):
        name = "fails"

        def run(self, session):
            raise KeyboardInterrupt

    recorder = Recorder()
    with pytest.raises(KeyboardInterrupt):
        make_trainer(workflow=Fails(), reporters=[recorder]).run()
    assert recorder.names()[-1] == "on_error"


def test_a_workflow_that_trains_nothing_is_an_error(make_trainer):
    class Idle(Workflow):
        name = "idle"

        def run(self, session):
            pass

    with pytest.raises(PluginError, match="trained nothing"):
        make_trainer(workflow=Idle()).run()


def test_validation_comes_out_of_the_training_images(make_trainer):
    recorder = Recorder()
    make_trainer(reporters=[recorder], validation=0.2).run()
    info = recorder.events[0][1][0]
    assert (info.num_train, info.num_validation, info.num_test) == (72, 18, 30)
    assert info.notes == ()


def test_validation_on_the_test_set_is_said(make_trainer):
    result = make_trainer(validation="test").run()
    assert result.info.num_train == 90
    assert "Validated on the test set" in result.info.notes[0]
    history = result.phases[0].history
    assert history["val_accuracy"][-1] == pytest.approx(result.accuracy)


def test_validation_images_of_the_dataset_are_used(make_trainer):
    class WithValidation(Colours):
        def load(self, seed):
            return dataclasses.replace(
                super().load(seed), validation=Split(*make_images(12, seed=9))
            )

    result = make_trainer(dataset=WithValidation()).run()
    assert (result.info.num_train, result.info.num_validation) == (90, 12)
    assert set(result.feature_cache) == {"train", "validation", "test"}


def test_lazy_pictures_train_and_fine_tune(make_trainer):
    class Lazy(Colours):
        def load(self, seed):
            data = super().load(seed)
            return dataclasses.replace(
                data,
                train=dataclasses.replace(data.train, images=list(data.train.images)),
                test=dataclasses.replace(data.test, images=list(data.test.images)),
            )

    workflow = FreezeAndTrain(epochs=2, fine_tune_epochs=1, unfreeze=1)
    lazy = make_trainer(dataset=Lazy(), workflow=workflow).run()
    eager = make_trainer(workflow=workflow).run()
    np.testing.assert_allclose(lazy.test.probabilities, eager.test.probabilities, atol=1e-3)


def test_the_resolved_config_is_complete_toml(make_trainer):
    result = make_trainer(seed=4).run()
    config = tomllib.loads((result.folder / "config.toml").read_text())
    assert config["run"] == {"name": "run", "seed": 4, "validation": 0.1, "save": ["keras"]}
    assert config["backbone"] == {
        "name": "tiny", "image_size": 16, "weights": "random", "scale": 255.0
    }  # fmt: skip
    assert config["head"] == {"name": "dense", "units": 8, "dropout": 0.3}
    assert json.loads((result.folder / "run.json").read_text())["schema_version"] == 1


def test_runs_none_saves_nothing(make_trainer, tmp_path):
    assert make_trainer(runs=None).run().folder is None
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../x"}, "Run name"),
        ({"seed": -1}, "Seed -1"),
        ({"validation": 1.0}, "above 0 and below 1"),
        ({"validation": "train"}, "or 'test'"),
        ({"save": []}, "'keras', 'h5' or both"),
        ({"backbone": 3}, "Allowed: a Backbone object"),
        ({"head": {"units": 3}}, "a mapping with 'name'"),
        ({"head": {"name": "dense", "unit": 3}}, "Did you mean 'units'"),
    ],
)
def test_bad_arguments_are_refused_at_once(make_trainer, changes, message):
    with pytest.raises(ConfigError, match=message):
        make_trainer(**changes)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (Split(np.zeros((4, 8, 8, 3), np.float32), np.arange(4) % 3), "needed: uint8"),
        (Split(np.zeros((4, 8, 8, 3), np.uint8), np.arange(5) % 3), "4 images and 5 labels"),
        (Split(np.zeros((4, 8, 8, 3), np.uint8), np.arange(4)), "allowed: 0 to 2"),
        (Split(np.zeros((4, 8, 8, 3), np.uint8), np.ones(4)), "needed: int64"),
        (Split(np.zeros((0, 8, 8, 3), np.uint8), np.arange(0)), "above 0 are needed"),
    ],
)
def test_a_dataset_that_breaks_its_contract_is_named(make_trainer, train, message):
    class Odd(DatasetSource):
        name = "odd"

        def load(self, seed):
            return ImageData(train, Split(*make_images(6, 0)), CLASS_NAMES)

    with pytest.raises(DataError, match=message):
        make_trainer(dataset=Odd()).run()


def test_too_few_images_to_validate_on_are_named(make_trainer):
    with pytest.raises(DataError, match="validation to a larger share"):
        make_trainer(dataset=Colours(6), validation=0.1).run()


def test_views_are_stored_beside_the_plain_features_and_used_for_training_alone(make_trainer):
    recorder = Recorder()
    result = make_trainer(views=2, reporters=[recorder]).run()
    assert dict(result.feature_cache) == {
        "train": "extracted",
        "train, view 1": "extracted",
        "train, view 2": "extracted",
        "test": "extracted",
    }
    assert [item.split for item in result.extractions] == list(result.feature_cache)
    assert all(item.engine == "tensorflow" for item in result.extractions)
    more = make_trainer(views=3).run()
    assert more.feature_cache["train, view 2"] == "stored"
    assert more.feature_cache["train, view 3"] == "extracted"
    other = make_trainer(views=1, augmentation=Augmentation(seed=1)).run()
    assert other.feature_cache["train"] == "stored"
    assert other.feature_cache["train, view 1"] == "extracted"


def test_float16_features_are_stored_apart(make_trainer):
    make_trainer().run()
    half = make_trainer(feature_type="float16").run()
    assert half.feature_cache["train"] == "extracted"
    assert make_trainer(feature_type="float16").run().feature_cache["train"] == "stored"
    assert half.info.config["features"]["dtype"] == "float16"


def test_the_engine_that_was_asked_for_runs_and_is_reported(make_trainer):
    pytest.importorskip("openvino")
    recorder = Recorder()
    result = make_trainer(engine="openvino", reporters=[recorder]).run()
    assert result.info.config["engine"] == {"name": "openvino", "precision": "float32"}
    assert {item.engine for item in result.extractions} == {"openvino"}
    (trial,) = result.engine_trials
    assert trial.accepted
    assert trial.relative_error < 1e-3
    (event,) = [arguments for name, arguments in recorder.events if name == "on_engine_chosen"]
    assert event[:2] == ("openvino", (trial,))
    assert load_run(result.folder).engine_trials == (trial,)
    assert load_run(result.folder).extractions == result.extractions
    again = make_trainer(engine="tensorflow").run()
    assert again.feature_cache["train"] == "stored", "equal features are stored apart"
    rough = make_trainer(engine={"name": "openvino", "precision": "bfloat16"}).run()
    assert rough.feature_cache["train"] == "extracted"


def test_auto_takes_no_options(make_trainer):
    with pytest.raises(ConfigError, match=r"precision is not allowed with name = 'auto'"):
        make_trainer(engine={"name": "auto", "precision": "bfloat16"})


@pytest.mark.parametrize("wrong", [{"views": -1}, {"feature_type": "int8"}])
def test_wrong_feature_settings_are_refused(make_trainer, wrong):
    with pytest.raises(ConfigError, match=r"\[features\]"):
        make_trainer(**wrong)


def test_a_module_that_is_missing_ends_the_run_before_any_work(make_trainer):
    class Needy(Reporter):
        name = "needy"
        modules = ("tlkit.errors", "no_such_module")

    class Untouched(Colours):
        def load(self, seed):
            raise AssertionError("work was done")

    with pytest.raises(PluginError, match="reporter 'needy' needs no_such_module"):
        make_trainer(reporters=[Needy()], dataset=Untouched()).run()


def test_an_engine_that_cannot_be_made_disturbs_no_run(make_trainer):
    class Needy(Engine):
        """Wants an argument."""

        name = "needy_engine"

        def __init__(self, address: str) -> None:
            self.address = address

        def compile(self, model):
            raise AssertionError

    registry = Registry(entry_points=False)
    registry.register(Needy)
    result = make_trainer(registry=registry).run()
    assert any("'needy_engine'" in note and "left out" in note for note in result.info.notes)


def test_training_the_head_again_after_fine_tuning_is_refused(make_trainer):
    class Again(Workflow):
        name = "again"

        def run(self, session):
            session.train_head(epochs=1, optimizer=keras.optimizers.Adam())
            session.fine_tune(epochs=1, optimizer=keras.optimizers.Adam(), unfreeze_blocks=1)
            session.train_head(epochs=1, optimizer=keras.optimizers.Adam())

    with pytest.raises(PluginError, match="it was fine-tuned"):
        make_trainer(workflow=Again()).run()
