import dataclasses
import json
import tomllib
import warnings
from functools import partial

import keras
import numpy as np
import pytest
from PIL import Image

from tests.tiny import CLASS_NAMES, Colours, Recorder, TinyBackbone, make_images, make_tiny_trainer
from tlkit import (
    Augmentation,
    ConfigError,
    DataError,
    DatasetSource,
    Engine,
    ImageData,
    PictureFiles,
    PictureNote,
    PluginError,
    Registry,
    Reporter,
    Split,
    TestTimeAugmentation,
    Workflow,
    load_run,
)
from tlkit.builtin.heads.dense import Dense
from tlkit.builtin.heads.linear import Linear
from tlkit.builtin.heads.logistic import Logistic
from tlkit.builtin.heads.mlp import MLP
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain
from tlkit.calibration import fit_temperature
from tlkit.compare.reading import figures_of
from tlkit.features import FeatureStore
from tlkit.fitting import Fitter
from tlkit.model import assemble
from tlkit.run_folder import load_model
from tlkit.training_examples import Examples


@pytest.fixture
def make_trainer(tmp_path):
    return partial(make_tiny_trainer, tmp_path)


def test_a_run_learns_saves_and_reads_back(make_trainer):
    result = make_trainer(workflow=FreezeAndTrain(epochs=40, learning_rate=1e-2)).run()
    assert result.accuracy > 0.9
    assert result.test.confusion_matrix.sum() == 30
    assert set(result.seconds) == {
        "start", "data", "model", "features", "training", "checkpoints", "evaluation", "saving",
        "reports", "total"
    }  # fmt: skip
    assert {item.name for item in result.folder.iterdir()} == {
        "config.toml", "run.json", "predictions.npz", "validation.npz", "model.keras",
        "test_images.zip",
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


PROGRESS = ("on_extract_progress", "on_epoch_progress")


def test_reporters_see_every_event_in_order(make_trainer):
    recorder = Recorder()
    make_trainer(
        reporters=[recorder], workflow=FreezeAndTrain(epochs=2, fine_tune_epochs=1, unfreeze=1)
    ).run()
    names = [name for name in recorder.names() if name not in ("on_stage", *PROGRESS)]
    epochs = [
        "on_engine_chosen",
        "on_phase_begin",
        "on_epoch_end",
        "on_epoch_end",
        "on_phase_end",
    ]
    fine = ["on_phase_begin", "on_epoch_end", "on_phase_end"]
    assert names == ["on_run_begin", *epochs, *fine, "on_run_end"]
    assert set(PROGRESS) <= set(recorder.names())
    stages = [arguments[0] for name, arguments in recorder.events if name == "on_stage"]
    assert stages == ["start", "data", "model", "evaluation", "saving", "reports"]
    assert recorder.names().index("on_run_begin") == 2


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
    info = dict(recorder.events)["on_run_begin"][0]
    assert (info.num_train, info.num_validation, info.num_test) == (72, 18, 30)
    [note] = info.notes
    assert note.startswith("The backbone's weights are random and frozen: nothing trains it")


def test_keys_of_a_fine_tuning_that_is_off_are_noted(make_trainer):
    recorder = Recorder()
    workflow = {"name": "freeze_and_train", "epochs": 1, "mixup": 0.2, "unfreeze": 2}
    make_trainer(workflow=workflow, reporters=[recorder]).run()
    notes = dict(recorder.events)["on_run_begin"][0].notes
    assert "[workflow] unfreeze, mixup: without effect, as nothing is fine-tuned." in notes


def test_random_weights_that_are_trained_or_taken_over_need_no_note(make_trainer):
    first = make_trainer(workflow={"name": "freeze_and_train", "fine_tune_epochs": 1}).run()
    second = make_trainer(start_from=first.folder).run()
    assert not any("frozen" in note for note in (*first.info.notes, *second.info.notes))


def test_validation_on_the_test_set_is_said(make_trainer):
    result = make_trainer(validation="test").run()
    assert result.info.num_train == 90
    assert "Validated on the test set" in result.info.notes[0]
    history = result.phases[0].history
    assert history["val_accuracy"][-1] == pytest.approx(result.accuracy)


def test_options_alone_are_those_of_the_default_plugin(make_trainer):
    trainer = make_trainer(head={"units": 3}, workflow={"epochs": 4})
    assert trainer.config["head"]["name"] == "dense"
    assert trainer.config["head"]["units"] == 3
    assert trainer.config["workflow"]["name"] == "freeze_and_train"
    assert trainer.config["workflow"]["epochs"] == 4


def test_a_model_that_could_not_be_loaded_again_is_not_trained(make_trainer, tmp_path):
    class ByLambda(TinyBackbone):
        def preprocess(self, images):
            import keras

            return keras.layers.Lambda(lambda pixels: pixels / 255)(images)

    recorder = Recorder()
    trainer = make_trainer(backbone=ByLambda(), reporters=[recorder])
    with pytest.raises(PluginError, match=r"not be loaded again: it names .*Lambda.*Rescaling"):
        trainer.run()
    assert "on_epoch_end" not in dict(recorder.events)
    assert list((tmp_path / "runs").iterdir()) == []


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
    assert config["run"] == {
        "name": "run", "seed": 4, "validation": 0.1, "duplicates": "report", "save": ["keras"],
        "calibrate": False, "few_shot": 0, "test_images": True,
    }  # fmt: skip
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
        ({"name": "../x"}, r"\[run\] name"),
        ({"seed": -1}, r"\[run\] seed = -1"),
        ({"validation": 1.0}, "above 0 and below 1"),
        ({"validation": "train"}, "or 'test'"),
        ({"save": []}, "'keras', 'h5' or both"),
        ({"backbone": 3}, "Allowed: a Backbone object"),
        ({"dataset": {"path": "x"}}, "a mapping with 'name'"),
        ({"head": {"unit": 3}}, "Unknown key 'unit' for head 'dense'"),
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
    with pytest.raises(DataError, match="Take a larger share, add images"):
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


@pytest.mark.parametrize(
    ("head", "fine_tune_epochs"), [(Dense(8), 0), (Logistic(), 0), (Linear(), 1)]
)
def test_the_model_averages_over_the_views_that_its_head_was_trained_on(
    make_trainer, head, fine_tune_epochs
):
    looks = TestTimeAugmentation(mirror=True, scales=(0.75,))
    workflow = FreezeAndTrain(epochs=2, learning_rate=1e-2, fine_tune_epochs=fine_tune_epochs)
    plain = make_trainer(head=head, workflow=workflow).run()
    result = make_trainer(head=head, workflow=workflow, test_time_augmentation=looks).run()
    predicted = load_model(result.folder).predict(np.asarray(result.test_images), verbose=0)
    np.testing.assert_allclose(predicted, result.test.probabilities, atol=1e-5)
    assert np.abs(result.test.probabilities - plain.test.probabilities).max() > 1e-4
    views = ["", ", mirrored", ", scale 0.75", ", scale 0.75, mirrored"]
    expected = [part + view for part in ("train", "test") for view in views]
    assert list(result.feature_cache) == (["train"] if fine_tune_epochs else expected)
    assert result.info.config["test_time_augmentation"] == {"mirror": True, "scales": [0.75]}


def test_no_features_are_computed_while_testing(make_trainer):
    class Told(Recorder):
        def extractions(self):
            names = [
                arguments[0] if name == "on_stage" else name for name, arguments in self.events
            ]
            return names[names.index("evaluation") :].count("on_extract_progress")

    recorder = Told()
    looks = TestTimeAugmentation(mirror=True)
    result = make_trainer(
        dataset=WithValidation(), test_time_augmentation=looks, reporters=[recorder]
    ).run()
    assert "validation, mirrored" in result.feature_cache
    assert recorder.extractions() == 0


def test_h5_is_refused_before_training_with_test_time_augmentation(make_trainer):
    looks = TestTimeAugmentation(mirror=True)
    with pytest.raises(ConfigError, match="test_time_augmentation"):
        make_trainer(test_time_augmentation=looks, save=["h5"]).run()


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

    with pytest.raises(PluginError, match=r"Reporter 'needy' of .* needs no_such_module"):
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


class Doubtful(Colours):
    """Colours of which every third training and test image has another label than it should."""

    def load(self, seed):
        data = super().load(seed)

        def doubt(split):
            labels = split.labels.copy()
            labels[::3] = np.random.default_rng(0).integers(0, 3, len(labels[::3]))
            return dataclasses.replace(split, labels=labels)

        return dataclasses.replace(data, train=doubt(data.train), test=doubt(data.test))


LONG = FreezeAndTrain(epochs=60, learning_rate=1e-2)
FINE_TUNED = FreezeAndTrain(epochs=40, learning_rate=1e-2, fine_tune_epochs=1, unfreeze=1)


@pytest.mark.parametrize("workflow", [LONG, FINE_TUNED], ids=["frozen", "fine-tuned"])
def test_a_calibrated_run_saves_and_tests_the_calibrated_model(make_trainer, workflow):
    settings = {"dataset": Doubtful(300), "workflow": workflow, "save": ["keras", "h5"]}
    plain = make_trainer(**settings).run()
    result = make_trainer(calibrate=True, **settings).run()
    calibration = result.test.calibration
    assert calibration.applied
    assert calibration.temperature == pytest.approx(plain.test.calibration.temperature)
    assert abs(calibration.temperature - 1) > 0.01, "the test shows nothing"
    assert not plain.test.calibration.applied
    assert plain.test.loss == calibration.uncalibrated.loss
    assert result.test.loss == calibration.calibrated.loss != plain.test.loss
    np.testing.assert_array_equal(result.test.predictions, plain.test.predictions)
    for name in ("model.keras", "model.h5"):
        model = keras.models.load_model(result.folder / name)
        found = model.predict(Colours().load(0).test.images, verbose=0)
        np.testing.assert_allclose(found, result.test.probabilities, atol=1e-5)
    again = load_run(result.folder).test
    assert again.calibration == calibration
    assert again.accuracy_interval == result.test.accuracy_interval
    assert again.balanced_accuracy == result.test.balanced_accuracy
    assert again.top_5 is None


def test_the_temperature_is_that_of_the_validation_images(make_trainer):
    class Looks(FreezeAndTrain):
        def run(self, session):
            super().run(session)
            rows = session.subsets["validation"].rows
            images, labels = Doubtful(300).load(0).train.images[rows], session.predict("validation")
            np.testing.assert_allclose(
                session.model.model.predict(images, verbose=0), labels[0], atol=1e-5
            )
            expected.append(fit_temperature(labels[1], np.log(labels[0])))

    for fine_tune_epochs in (0, 1):
        expected = []
        workflow = Looks(epochs=60, learning_rate=1e-2, fine_tune_epochs=fine_tune_epochs)
        result = make_trainer(dataset=Doubtful(300), workflow=workflow).run()
        assert result.test.calibration.temperature == pytest.approx(expected[0], rel=1e-3)


def test_no_temperature_is_fitted_on_the_test_set(make_trainer, tmp_path):
    result = make_trainer(dataset=Doubtful(), validation="test").run()
    calibration = result.test.calibration
    assert (calibration.temperature, calibration.calibrated) == (None, None)
    assert calibration.reason == "validation is the test set"
    assert load_run(result.folder).test.calibration == calibration
    assert result.info.validates_on_test
    with pytest.raises(ConfigError, match="calibrate = true is not allowed with validation"):
        make_trainer(calibrate=True, validation="test", runs=tmp_path / "none").run()
    assert not (tmp_path / "none").exists()


class WithValidation(Doubtful):
    """Brings validation images of its own."""

    def load(self, seed):
        images, labels = make_images(60, seed=9)
        labels[::3] = np.random.default_rng(1).integers(0, 3, 20)
        return dataclasses.replace(super().load(seed), validation=Split(images, labels))


def test_validation_images_of_the_dataset_are_no_test_set_whatever_the_config_says(make_trainer):
    trainer = make_trainer(
        dataset=WithValidation(300), validation="test", calibrate=True, workflow=LONG
    )
    result = trainer.run()
    assert result.test.calibration.applied
    assert not result.info.validates_on_test
    assert not load_run(result.folder).info.validates_on_test
    assert figures_of(result).validation_accuracy is not None
    assert set(result.fingerprints) == {"train", "validation", "test", "labels", "weights"}


def test_a_model_that_cannot_be_calibrated_is_said(make_trainer):
    class Sure(Workflow):
        name = "sure"

        def run(self, session):
            session.train_head(epochs=1, optimizer=keras.optimizers.Adam(1e-2))
            subset = session.subsets["validation"]
            probabilities, _ = session.predict("validation")
            subset.split.labels[subset.rows] = probabilities.argmax(axis=1)

    result = make_trainer(workflow=Sure(), calibrate=True).run()
    assert not result.test.calibration.applied
    assert "the best is not within 0.05 to 20" in result.test.calibration.reason
    assert "The model is not calibrated" in result.warnings[0]
    assert load_run(result.folder).warnings == result.warnings


@pytest.mark.parametrize("head", ["logistic", "prototype", "knn"])
def test_a_closed_form_head_exports_into_the_same_model(make_trainer, head):
    recorder = Recorder()
    result = make_trainer(head=head, workflow="freeze_and_train", reporters=[recorder]).run()
    assert result.accuracy > 0.8
    (phase,) = result.phases
    assert (phase.phase.steps, phase.phase.epochs) == (0, 1)
    assert phase.phase.trainable_parameters > 0
    assert len(phase.chosen) == 1
    assert recorder.names().count("on_epoch_end") == 1
    model = load_model(result.folder)
    images = Colours().load(0).test.images
    np.testing.assert_allclose(
        model.predict(images, verbose=0), result.test.probabilities, atol=1e-4
    )
    assert load_run(result.folder).phases[0].chosen == phase.chosen


def test_a_closed_form_head_is_where_fine_tuning_begins(make_trainer):
    workflow = FreezeAndTrain(fine_tune_epochs=2, fine_tune_learning_rate=1e-3)
    result = make_trainer(head="logistic", workflow=workflow).run()
    solved, tuned = result.phases
    assert tuned.history["accuracy"][0] > 0.6
    assert tuned.phase.trainable_parameters > solved.phase.trainable_parameters


def test_nothing_is_chosen_by_the_test_set(make_trainer):
    with pytest.raises(ConfigError, match="'logistic' would choose its settings by the test set"):
        make_trainer(head="logistic", validation="test").run()
    assert make_trainer(head={"name": "logistic", "C": 0.1}, validation="test").run().accuracy > 0.8
    for workflow in (
        FreezeAndTrain(early_stopping=3),
        FreezeAndTrain(fine_tune_epochs=1, fine_tune_early_stopping=3),
    ):
        with pytest.raises(ConfigError, match="would choose the weights by the test set"):
            make_trainer(workflow=workflow, validation="test").run()


def test_few_shot_trains_on_few_images(make_trainer):
    result = make_trainer(head="prototype", few_shot=2).run()
    assert result.info.num_train == 6
    assert result.info.num_validation == 6
    assert result.info.num_test == 30
    assert any("few_shot = 2" in note for note in result.info.notes)
    with pytest.raises(ConfigError, match="few_shot = -1"):
        make_trainer(few_shot=-1)


EVERYTHING = {
    "unfreeze_every": 1,
    "layer_decay": 0.5,
    "schedule": "constant",
    "weight_decay": 0.1,
    "clip_norm": 0.5,
    "ema": 0.9,
    "label_smoothing": 0.2,
    "mixup": 0.2,
    "cutmix": 1.0,
    "mixed_precision": True,
    "class_weight": "balanced",
}


# The others have tests of their own; these change how the network itself is run.
@pytest.mark.parametrize("key", [None, "mixed_precision", "ema", "cutmix"])
def test_fine_tuning_learns_with_each_option(make_trainer, key):
    changed = {} if key is None else {key: EVERYTHING[key]}
    workflow = FreezeAndTrain(epochs=2, fine_tune_epochs=8, fine_tune_learning_rate=1e-2, **changed)
    result = make_trainer(workflow=workflow).run()
    assert result.accuracy > 0.6
    assert {weight.dtype for weight in result.model.weights} == {"float32"}
    again = load_model(result.folder).predict(Colours().load(0).test.images, verbose=0)
    np.testing.assert_allclose(again, result.test.probabilities, atol=1e-4)


def test_storing_what_the_frozen_blocks_give_changes_no_number(make_trainer, monkeypatch):
    workflow = FreezeAndTrain(
        epochs=1, fine_tune_epochs=3, unfreeze=2, augment=False, fine_tune_learning_rate=1e-2
    )
    stored = make_trainer(workflow=workflow).run()
    assert stored.feature_cache["train, 2 blocks"] == "extracted"
    monkeypatch.setattr("tlkit.fine_tuning_inputs.split_network", lambda *arguments: None)
    whole = make_trainer(workflow=workflow).run()
    assert "train, 2 blocks" not in whole.feature_cache
    for one, other in zip(stored.model.weights, whole.model.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-4)
    np.testing.assert_allclose(stored.test.probabilities, whole.test.probabilities, atol=1e-4)


def test_stored_views_of_the_frozen_blocks(make_trainer):
    workflow = FreezeAndTrain(epochs=1, fine_tune_epochs=2, unfreeze=2, fine_tune_views=2)
    result = make_trainer(workflow=workflow).run()
    assert set(result.feature_cache) >= {f"train, 2 blocks, view {view}" for view in (1, 2)}
    assert result.warnings == ()


@pytest.mark.parametrize("unfreeze", [0, 4])
def test_where_the_network_cannot_be_cut_new_views_are_drawn(make_trainer, unfreeze):
    workflow = FreezeAndTrain(
        epochs=1, fine_tune_epochs=1, unfreeze=unfreeze, fine_tune_views=2, augment=False
    )
    result = make_trainer(workflow=workflow).run()
    assert "New views are drawn each epoch instead of 2 stored ones" in result.warnings[0]


def test_where_the_disk_is_too_small_the_frozen_blocks_run_each_epoch(make_trainer, monkeypatch):
    workflow = FreezeAndTrain(epochs=1, fine_tune_epochs=1, unfreeze=2, augment=False)
    free = [1000]
    monkeypatch.setattr("tlkit.fine_tuning_inputs.free_bytes", lambda folder: free[0])
    result = make_trainer(workflow=workflow).run()
    assert any("computed anew each epoch" in warning for warning in result.warnings)
    free[0] = 10**9
    assert make_trainer(workflow=workflow).run().warnings == ()
    free[0] = 1000  # what is there already takes no more room
    assert make_trainer(workflow=workflow).run().warnings == ()


def test_what_fine_tuning_cannot_do_is_said_before_anything_is_computed(make_trainer):
    for workflow, head, message in (
        (FreezeAndTrain(fine_tune_epochs=1, unfreeze=9), "dense", "Cannot unfreeze 9 blocks"),
        (FreezeAndTrain(fine_tune_epochs=1), "knn", "no weights that fine-tuning could train"),
    ):
        recorder = Recorder()
        with pytest.raises(ConfigError, match=message):
            make_trainer(workflow=workflow, head=head, reporters=[recorder]).run()
        stages = ["on_stage"] * 2
        assert recorder.names() == [*stages, "on_run_begin", "on_stage", "on_error"]


def test_an_optimizer_that_scales_the_loss_is_refused(make_trainer):
    class Scaled(Workflow):
        name = "scaled"

        def run(self, session):
            session.train_head(epochs=1, optimizer=keras.optimizers.SGD(loss_scale_factor=8.0))

    with pytest.raises(ConfigError, match="SGD scales the loss, which is not supported"):
        make_trainer(workflow=Scaled()).run()


def test_what_a_head_chose_may_be_a_number_of_numpy(make_trainer):
    class Odd(Logistic):
        name = "odd"

        def solve(self, train, validation, class_weight):
            return super().solve(train, validation, class_weight)[0], {"k": np.int64(3)}

    result = make_trainer(head=Odd()).run()
    assert load_run(result.folder).phases[0].chosen == {"k": 3}


def test_a_solved_head_needs_two_classes_in_training(make_trainer):
    class One(Colours):
        def load(self, seed):
            data = super().load(seed)
            labels = np.zeros_like(data.train.labels)
            return dataclasses.replace(data, train=dataclasses.replace(data.train, labels=labels))

    with pytest.raises(DataError, match="All training images are of one class"):
        make_trainer(dataset=One(), head="logistic").run()


def test_fine_tuning_again_goes_on_from_where_it_was(make_trainer):
    class Twice(Workflow):
        name = "twice"

        def run(self, session):
            session.train_head(epochs=2, optimizer=keras.optimizers.Adam(1e-2))
            for blocks in (1, "all"):
                session.fine_tune(
                    epochs=2,
                    optimizer=keras.optimizers.AdamW(1e-2, use_ema=True),
                    unfreeze_blocks=blocks,
                    layer_decay=0.9,
                )

    result = make_trainer(workflow=Twice()).run()
    assert [phase.phase.name for phase in result.phases] == ["frozen", "fine-tune", "fine-tune"]
    again = load_model(result.folder).predict(Colours().load(0).test.images, verbose=0)
    np.testing.assert_allclose(again, result.test.probabilities, atol=1e-5)


def test_pictures_of_mixed_sizes_are_fine_tuned(make_trainer):
    class Mixed(Colours):
        def load(self, seed):
            data = super().load(seed)
            images = [np.asarray(image)[: 8 + i % 4] for i, image in enumerate(data.train.images)]
            return dataclasses.replace(data, train=dataclasses.replace(data.train, images=images))

    for options in ({"mixup": 0.2, "cutmix": 1.0}, {"augment": False}):
        workflow = FreezeAndTrain(epochs=1, fine_tune_epochs=2, **options)
        assert len(make_trainer(dataset=Mixed(), workflow=workflow).run().phases) == 2


def test_all_options_work_together(make_trainer):
    workflow = FreezeAndTrain(fine_tune_epochs=2, **EVERYTHING)
    assert len(make_trainer(workflow=workflow).run().phases) == 2


def test_early_stopping_puts_the_best_weights_back(make_trainer):
    workflow = FreezeAndTrain(epochs=40, learning_rate=0.5, early_stopping=2)
    result = make_trainer(workflow=workflow).run()
    (phase,) = result.phases
    losses = phase.history["val_loss"]
    assert len(losses) < 40
    assert phase.kept_epoch == 1 + int(np.argmin(losses))
    assert len(losses) == phase.kept_epoch + 2
    history = {**phase.history, "val_accuracy": list(range(len(losses)))}
    changed = dataclasses.replace(phase, history=history)
    figures = figures_of(dataclasses.replace(result, phases=(changed,)))
    assert figures.validation_accuracy == phase.kept_epoch - 1


def test_validation_and_the_final_weights_are_those_of_the_moving_average(make_trainer):
    # With a momentum this close to 1 the average stays where it began: at the first step.
    slow = FreezeAndTrain(
        fine_tune_epochs=3,
        fine_tune_learning_rate=1e-2,
        schedule="constant",
        ema=0.99999,
        fine_tune_early_stopping=0,
        augment=False,
    )
    losses = make_trainer(workflow=slow).run().phases[1].history
    assert np.ptp(losses["val_loss"]) < 1e-3
    assert np.ptp(losses["loss"]) > 1e-2


def test_keras_callbacks_follow_the_training_of_the_head(make_trainer):
    seen = []

    class Follow(Workflow):
        name = "follow"

        def run(self, session):
            callback = keras.callbacks.LambdaCallback(
                on_train_begin=lambda logs: seen.append("begin"),
                on_epoch_end=lambda epoch, logs: seen.append((epoch, sorted(logs))),
                on_train_end=lambda logs: seen.append("end"),
            )
            session.train_head(epochs=2, optimizer=keras.optimizers.Adam(), callbacks=[callback])

    make_trainer(workflow=Follow()).run()
    metrics = ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert seen == ["begin", (0, metrics), (1, metrics), "end"]


def test_a_run_on_pictures_holds_back_what_pillow_warns_of(make_trainer, monkeypatch, tmp_path):
    class Pictures(Colours):
        def load(self, seed):
            data = super().load(seed)
            paths = [tmp_path / f"{number}.png" for number in range(len(data.train))]
            for path, pixels in zip(paths, data.train.images, strict=True):
                Image.fromarray(pixels).save(path)
            return dataclasses.replace(data, train=Split(PictureFiles(paths), data.train.labels))

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # 144 of them: Pillow warns
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_trainer(dataset=Pictures()).run()
    assert not [item for item in caught if item.category is Image.DecompressionBombWarning]
    assert warnings.filters == before


class Leaky(Colours):
    """The first four test images are training images, one of them under another label."""

    def load(self, seed):
        data = super().load(seed)
        images = np.concatenate([data.train.images[:4], data.test.images])
        labels = np.concatenate([[1, 1, 2, 0], data.test.labels])
        return dataclasses.replace(data, test=Split(images, labels))


def test_leakage_is_reported_and_changes_nothing(make_trainer):
    recorder = Recorder()
    result = make_trainer(dataset=Leaky(), reporters=[recorder, "files"]).run()
    assert "LEAKAGE: 4 of 34 test images" in result.info.notes[0]
    assert any("LABEL CONFLICTS (1)" in note for note in result.info.notes)
    assert result.info.duplicates == {
        "test": 4, "validation": 0, "train": 0, "label_conflicts": 1, "validation_in_test": 0
    }  # fmt: skip
    assert result.info.num_train + result.info.num_validation == 90
    assert len(dict(recorder.events)["on_run_begin"][1]["duplicates"]) == 4
    loaded = load_run(result.folder).info
    assert (loaded.duplicates, loaded.class_counts) == (
        result.info.duplicates,
        result.info.class_counts,
    )
    assert len((result.folder / "leakage.csv").read_text().splitlines()) == 5


def test_duplicates_are_dropped_from_training_when_asked_and_features_stay(make_trainer):
    reported = make_trainer(dataset=Leaky()).run()
    result = make_trainer(dataset=Leaky(), duplicates="drop").run()
    assert result.info.num_train + result.info.num_validation == 86
    assert sum(result.info.class_counts) == result.info.num_train
    assert result.info.num_test == 34
    assert set(result.feature_cache.values()) == {"stored"}
    assert result.info.config["run"]["duplicates"] == "drop"
    assert result.phases[0].phase.num_images < reported.phases[0].phase.num_images


def test_nothing_is_chosen_by_the_test_set_after_duplicates_were_dropped(make_trainer):
    settings = {"dataset": Leaky(), "validation": "test", "duplicates": "drop"}
    with pytest.raises(ConfigError, match="would choose its settings by the test set"):
        make_trainer(head="logistic", **settings).run()
    with pytest.raises(ConfigError, match="would choose the weights by the test set"):
        make_trainer(workflow=FreezeAndTrain(early_stopping=3), **settings).run()
    few = make_trainer(few_shot=2, **settings).run().info
    assert (few.num_train, few.num_validation, few.num_test) == (6, 34, 34)
    assert "(counted before few_shot)" in few.notes[1]


def test_duplicates_end_the_run_before_any_work_when_asked(make_trainer, tmp_path):
    with pytest.raises(DataError, match="4 of 34 test images are also training images"):
        make_trainer(dataset=Leaky(), duplicates="error").run()
    assert not (tmp_path / "runs").exists()
    with pytest.raises(ConfigError, match="'report', 'error', 'drop'"):
        make_trainer(duplicates="keep")


def test_the_training_images_of_each_class_are_counted(make_trainer):
    info = make_trainer().run().info
    assert info.class_counts == (27, 27, 27)
    assert info.imbalance == 1.0
    assert dataclasses.replace(info, class_counts=(10, 40, 20)).imbalance == 4.0
    assert dataclasses.replace(info, class_counts=(10, 0, 20)).imbalance == float("inf")
    assert dataclasses.replace(info, class_counts=()).imbalance == 1.0


def test_unusual_pictures_are_noted_and_listed(make_trainer):
    note = PictureNote("a.png", ("greyscale",), ("greyscale made RGB",))

    class Odd(Colours):
        def load(self, seed):
            return dataclasses.replace(super().load(seed), pictures=(note,))

    result = make_trainer(dataset=Odd(), reporters=["files"]).run()
    assert "1 greyscale made RGB" in result.info.notes[0]
    assert "a.png" in (result.folder / "pictures.csv").read_text()


def test_a_file_that_is_cut_short_ends_the_run_with_its_name_and_what_to_do(make_trainer, tmp_path):
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(10):
            noise = np.random.default_rng(10 * number + index).integers(
                0, 255, (30, 30, 3), "uint8"
            )
            Image.fromarray(noise).save(tmp_path / "data" / name / f"{index}.jpg")
    short = tmp_path / "data" / "dog" / "3.jpg"
    short.write_bytes(short.read_bytes()[:900])
    folder = {"name": "folder", "path": str(tmp_path / "data")}
    with pytest.raises(DataError, match=r"dog/3\.jpg: it is cut short.*broken = 'skip'"):
        make_trainer(dataset=folder).run()
    result = make_trainer(dataset=folder | {"broken": "skip"}, reporters=["files"]).run()
    assert result.info.notes[0].startswith("Broken pictures left out: 1 (dog/3.jpg)")
    assert "dog/3.jpg,broken,left out: " in (result.folder / "pictures.csv").read_text()
    info = result.info
    assert info.num_train + info.num_validation + info.num_test == 19


def test_a_keras_callback_may_move_the_learning_rate(make_trainer):
    weights = []

    class Slows(Workflow):
        name = "slows"

        def run(self, session):
            stop = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.0 if epoch else rate)
            keep = keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, logs: weights.append(session.model.head.get_weights())
            )
            session.train_head(
                epochs=3, optimizer=keras.optimizers.Adam(1e-2), callbacks=[stop, keep]
            )

    make_trainer(workflow=Slows()).run()
    for first, last in zip(weights[0], weights[2], strict=True):
        np.testing.assert_array_equal(first, last)


def test_fine_tuning_that_made_it_worse_is_said(make_trainer):
    good = FreezeAndTrain(epochs=30, learning_rate=1e-2)
    assert make_trainer(workflow=good).run().warnings == ()
    wild = FreezeAndTrain(
        epochs=30, learning_rate=1e-2, fine_tune_epochs=1, fine_tune_learning_rate=5.0, warmup=0.0
    )
    warnings = make_trainer(workflow=wild).run().warnings
    assert any("left the validation loss higher than it was" in text for text in warnings)


def test_settings_of_random_views_are_idle_where_there_are_none(make_trainer):
    keys = {"flip", "crop", "colour", "seed"}
    assert set(make_trainer().run().info.idle_options["features"]) == keys
    assert not make_trainer(views=1).run().info.idle_options["features"]
