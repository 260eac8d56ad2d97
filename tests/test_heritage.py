"""Runs that start from finished ones: what they take over, what they say of it."""

import hashlib
import json
import shutil

import jsonschema
import numpy as np
import pytest

from tests.tiny import CLASS_NAMES, TinyBackbone, make_images, make_tiny_trainer
from tlkit import (
    ConfigError,
    DataError,
    DatasetSource,
    ImageData,
    Registry,
    RunFolderError,
    Split,
    TestTimeAugmentation,
    load_run,
)
from tlkit.builtin.heads.dense import Dense
from tlkit.builtin.heads.linear import Linear
from tlkit.builtin.heads.logistic import Logistic
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain
from tlkit.documents.run import Run
from tlkit.explain.test_set import load_test_images
from tlkit.model_parts import find_parts
from tlkit.run_folder import load_model
from tlkit.splitting import split_rows

FINE_TUNE = FreezeAndTrain(
    epochs=2, learning_rate=1e-2, fine_tune_epochs=1, fine_tune_learning_rate=1e-2
)


class Paints(DatasetSource):
    """Some of three colours."""

    name = "paints"

    def __init__(self, classes: list[str] | None = None, drawn: bool = False) -> None:
        self.classes, self.drawn = classes or list(CLASS_NAMES), drawn

    def load(self, seed):
        if self.drawn:
            images, labels = make_images(120, 1)
            rows = split_rows(labels, 0.25, seed, "paints")
            parts = [(images[part], labels[part]) for part in rows]
        else:
            parts = [make_images(90, 1), make_images(30, 2)]
        return ImageData(*(self._chosen(*part) for part in parts), tuple(self.classes))

    def _chosen(self, images, labels):
        numbers = [CLASS_NAMES.index(name) for name in self.classes if name in CLASS_NAMES]
        chosen = np.isin(labels, numbers)
        renumbered = np.array([numbers.index(label) for label in labels[chosen]])
        return Split(images[chosen], renumbered.astype(np.int64))


@pytest.fixture(scope="module")
def make_trainer(tmp_path_factory):
    """Return a function that makes trainers; all share their features."""
    folder = tmp_path_factory.mktemp("home")

    def make(**changes):
        registry = Registry(entry_points=False)
        registry.register(Paints)
        settings = {"dataset": Paints(), "registry": registry} | changes
        return make_tiny_trainer(folder, **settings)

    return make


@pytest.fixture(scope="module")
def parent(make_trainer):
    """A finished run of three classes; nothing may change it."""
    return make_trainer(name="parent").run()


@pytest.fixture(scope="module")
def parent_of_two(make_trainer):
    """A finished run of two classes."""
    return make_trainer(name="two", dataset=Paints(["red", "green"])).run()


@pytest.fixture(scope="module")
def child(make_trainer, parent):
    """A run that started from the parent."""
    return make_trainer(name="child", start_from=parent.folder).run()


@pytest.fixture
def copied(tmp_path):
    """Return a function that copies a run folder, to be damaged."""
    return lambda run: shutil.copytree(run.folder, tmp_path / run.folder.name)


def logits_before(trainer):
    """Run, and return the logits of the test images that the model gave before the first step."""
    found = []
    run = type(trainer.workflow).run

    def watched(session):
        found.append(session.logits("test"))
        run(trainer.workflow, session)

    vars(trainer.workflow)["run"] = watched
    result = trainer.run()
    (logits, labels), *_ = found
    return result, logits, labels


def parent_logits(folder, images):
    import keras

    model = load_model(folder)
    return np.asarray(keras.Model(model.inputs, find_parts(model).logits).predict_on_batch(images))


def images_of(classes=None, drawn=False):
    return Paints(classes, drawn).load(0).test.images


def test_more_epochs_go_on_from_the_weights_and_use_the_stored_features(make_trainer, parent):
    child, logits, _ = logits_before(make_trainer(start_from=parent.folder))
    np.testing.assert_allclose(logits, parent_logits(parent.folder, images_of()), atol=1e-4)
    assert set(child.feature_cache.values()) == {"stored"}
    lineage = child.info.lineage
    assert (lineage.head, lineage.new_classes, lineage.seen_test_images) == ("kept", (), 0)
    assert lineage.seen_validation_images == 0
    assert lineage.accuracy_before == pytest.approx(parent.accuracy)
    assert lineage.accuracy_after == pytest.approx(child.accuracy)
    assert lineage.known_test_images == 30
    assert child.phases[0].history["loss"][0] < parent.phases[0].history["loss"][0]
    assert child.fingerprints["weights"] == parent.fingerprints["weights"]


def test_the_order_of_the_images_goes_on_after_the_parents(make_trainer, child, monkeypatch):
    from tlkit.fitting import Fitter

    orders = []
    train_epoch = Fitter.train_epoch

    def watched(self, examples, seed, epoch, *rest):
        orders.append(epoch)
        return train_epoch(self, examples, seed, epoch, *rest)

    monkeypatch.setattr(Fitter, "train_epoch", watched)
    make_trainer(start_from=child.folder).run()
    assert orders == [5, 6]


def test_another_head_stands_on_the_fine_tuned_backbone(make_trainer):
    parent = make_trainer(workflow=FINE_TUNE).run()
    child = make_trainer(start_from=parent.folder, head=Linear()).run()
    own, theirs = (find_parts(load_model(run.folder)).backbone for run in (child, parent))
    for left, right in zip(own.weights, theirs.weights, strict=True):
        np.testing.assert_array_equal(left.numpy(), right.numpy())
    assert child.fingerprints["weights"] != parent.fingerprints["weights"]
    assert set(child.feature_cache.values()) == {"extracted"}
    lineage = child.info.lineage
    assert lineage.head == "new"
    assert lineage.reason == "'linear' in place of the parent's 'dense'"
    assert (lineage.accuracy_before, lineage.seen_test_images) == (None, 0)


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (Dense(4), "units = 4, the parent's 8"),
        (Logistic(), "'logistic' is solved anew on the features"),
    ],
)
def test_why_a_head_is_new_is_said(make_trainer, parent, head, reason):
    child = make_trainer(start_from=parent.folder, head=head).run()
    assert (child.info.lineage.head, child.info.lineage.reason) == ("new", reason)


def test_dropout_is_no_other_head(make_trainer, parent):
    child = make_trainer(start_from=parent.folder, head=Dense(8, dropout=0.7)).run()
    assert child.info.lineage.head == "kept"


def test_another_pooling_is_another_head(make_trainer):
    parent = make_trainer(head=Linear()).run()
    child = make_trainer(start_from=parent.folder, head=Linear("max")).run()
    assert "pools the features in another way" in child.info.lineage.reason


@pytest.mark.parametrize("classes", [["blue", "red", "green"], ["green", "blue", "red"]])
def test_new_classes_stand_beside_the_old_ones_by_name(make_trainer, parent_of_two, classes):
    parent = parent_of_two
    trainer = make_trainer(dataset=Paints(classes), start_from=parent.folder)
    child, logits, labels = logits_before(trainer)
    expected = parent_logits(parent.folder, images_of(classes))
    old = [classes.index("red"), classes.index("green")]
    np.testing.assert_allclose(logits[:, old], expected, atol=1e-4)
    lineage = child.info.lineage
    assert (lineage.head, lineage.new_classes) == ("grown", ("blue",))
    known = np.isin(labels, old)
    assert lineage.known_test_images == known.sum() == 20
    right = np.array(old)[expected[known].argmax(axis=1)] == labels[known]
    assert lineage.accuracy_before == pytest.approx(right.mean())
    right = child.test.predictions[known] == labels[known]
    assert lineage.accuracy_after == pytest.approx(right.mean())


def test_classes_in_another_order_are_the_same_classes(make_trainer, parent):
    classes = ["blue", "red", "green"]
    child, logits, _ = logits_before(
        make_trainer(dataset=Paints(classes), start_from=parent.folder)
    )
    expected = parent_logits(parent.folder, images_of())
    order = [CLASS_NAMES.index(name) for name in classes]
    np.testing.assert_allclose(logits, expected[:, order], atol=1e-4)
    assert child.info.lineage.head == "kept"


def test_classes_that_the_data_lacks_are_refused_dropped_or_replayed(
    make_trainer, parent_of_two, monkeypatch
):
    parent = parent_of_two
    data = Paints(["green", "blue"])
    with pytest.raises(ConfigError, match="lacks the class 'red' of the run") as error:
        make_trainer(dataset=data, start_from=parent.folder).run()
    assert "'replay'" in str(error.value)
    dropped = make_trainer(dataset=data, start_from=parent.folder, old_classes="drop").run()
    assert dropped.info.class_names == ("green", "blue")
    assert dropped.info.lineage.dropped_classes == ("red",)
    assert dropped.info.lineage.head == "grown"
    replayed = make_trainer(
        dataset=Paints(["blue"]), start_from=parent.folder, old_classes="replay"
    ).run()
    lineage = replayed.info.lineage
    assert replayed.info.class_names == CLASS_NAMES
    assert lineage.replayed_classes == ("red", "green")
    assert replayed.info.class_counts == (27, 27, 27)
    assert (replayed.info.num_test, lineage.known_test_images) == (30, 20)
    assert (lineage.seen_test_images, lineage.seen_validation_images) == (0, 0)
    monkeypatch.setattr("tlkit.explain.test_set.Registry", lambda: make_trainer()._registry)
    shown = load_test_images(load_run(replayed.folder))
    np.testing.assert_array_equal(shown.labels, replayed.test.labels)
    # A run of a run: the data is put together again.
    again = make_trainer(
        dataset=Paints(["green"]), start_from=replayed.folder, old_classes="replay"
    ).run()
    assert again.info.class_names == CLASS_NAMES
    assert again.info.lineage.replayed_classes == ("red", "blue")
    assert [item.folder for item in again.info.lineage.ancestors] == [
        str(replayed.folder),
        str(parent.folder),
    ]


def test_replay_needs_the_parents_data_as_it_was(make_trainer, parent_of_two, monkeypatch):
    parent = parent_of_two
    load = Paints.load

    def changed(self, seed):
        data = load(self, seed)
        data.train.images[0, 0, 0, 0] ^= 1
        return data

    monkeypatch.setattr(Paints, "load", changed)
    trainer = make_trainer(dataset=Paints(["blue"]), start_from=parent.folder, old_classes="replay")
    with pytest.raises(DataError, match=r"(?s)replay' needs the data of .* has changed since"):
        trainer.run()


def test_test_images_that_the_parent_was_trained_on_are_counted(make_trainer):
    parent = make_trainer(dataset=Paints(drawn=True)).run()
    own = make_trainer(dataset=Paints(drawn=True), start_from=parent.folder).run()
    assert own.info.lineage.seen_test_images == 0
    other = make_trainer(dataset=Paints(drawn=True), seed=1, start_from=own.folder)
    child = other.run()
    trained = {bytes(image) for image in _trained_on(own)}
    expected = sum(bytes(image) in trained for image in Paints(drawn=True).load(1).test.images)
    assert child.info.lineage.seen_test_images == expected > 0
    (note,) = [note for note in child.info.notes if "LEAKAGE" in note and "test figures" in note]
    assert f"{expected} of 30 test images" in note
    with pytest.raises(DataError, match="were trained on by the runs"):
        make_trainer(
            dataset=Paints(drawn=True), seed=1, start_from=own.folder, duplicates="error"
        ).run()


def _trained_on(run):
    """The images of the parent's training set, by the rule that tlkit splits by."""
    from tlkit.splitting import draw_rows

    train = Paints(drawn=True).load(0).train
    rows, _ = draw_rows(train.labels, 0.1, 0, train.labels)
    return train.images[rows]


def test_what_cannot_be_checked_is_said(make_trainer, parent, child, tmp_path):
    folder = parent.folder.rename(tmp_path / "away")
    try:
        grandchild = make_trainer(start_from=child.folder).run()
        # The lineage outlives the folder.
        read = load_run(grandchild.folder).info.lineage
    finally:
        folder.rename(parent.folder)
    assert grandchild.info.lineage.seen_test_images is None
    assert any("Not checked: whether" in note for note in grandchild.info.notes)
    assert read == grandchild.info.lineage
    assert read.ancestors[1].accuracy == pytest.approx(parent.accuracy)


def test_a_calibrated_parent_hands_on_its_head_without_the_temperature(make_trainer, monkeypatch):
    monkeypatch.setattr("tlkit.final_figures.fit_temperature", lambda labels, logits: 2.0)
    parent = make_trainer(calibrate=True).run()
    assert parent.test.calibration.applied
    monkeypatch.setattr("tlkit.final_figures.fit_temperature", lambda labels, logits: 0.5)
    child, logits, _ = logits_before(make_trainer(start_from=parent.folder, calibrate=True))
    np.testing.assert_allclose(logits / 2, parent_logits(parent.folder, images_of()), atol=1e-4)
    assert child.test.calibration.temperature == 0.5


def test_a_parent_that_averages_over_views_hands_on_its_parts(make_trainer):
    looks = TestTimeAugmentation(mirror=True, scales=(1.25,))
    parent = make_trainer(test_time_augmentation=looks).run()
    same, logits, _ = logits_before(
        make_trainer(start_from=parent.folder, test_time_augmentation=looks)
    )
    np.testing.assert_allclose(logits, parent_logits(parent.folder, images_of()), atol=1e-4)
    assert same.info.lineage.head == "kept"
    assert make_trainer(start_from=parent.folder).run().info.lineage.head == "kept"


def test_the_size_of_the_images_may_change_and_the_network_not(make_trainer, parent):
    larger = make_trainer(start_from=parent.folder, backbone=TinyBackbone(24)).run()
    assert larger.info.lineage.head == "kept"
    with pytest.raises(ConfigError, match=r"scale = 127.5 .*Allowed: --set backbone.scale=255.0"):
        make_trainer(start_from=parent.folder, backbone=TinyBackbone(scale=127.5)).run()

    class Wide(TinyBackbone):
        def build(self):
            import keras

            inputs = keras.Input((self.image_size, self.image_size, 3))
            return keras.Model(inputs, keras.layers.Conv2D(5, 3, strides=4)(inputs))

    trainer = make_trainer(start_from=parent.folder, backbone=Wide())
    with pytest.raises(ConfigError, match="do not fit this run's"):
        trainer.run()
    # A refused run leaves no folder.
    assert all((path / "run.json").exists() for path in trainer.runs.iterdir())

    class Other(TinyBackbone):
        name = "other"

    with pytest.raises(ConfigError, match="whose backbone is 'tiny'"):
        make_trainer(start_from=parent.folder, backbone=Other()).run()


def test_a_run_that_is_not_finished_or_damaged_is_no_start(make_trainer, parent, copied, tmp_path):
    with pytest.raises(RunFolderError, match=r"Cannot start from .*There is no run folder"):
        make_trainer(start_from=tmp_path / "nothing").run()
    folder = copied(parent)
    (folder / "model.keras").write_bytes(b"damaged")
    with pytest.raises(RunFolderError, match=r"Cannot start from .*is damaged"):
        make_trainer(start_from=folder).run()
    (folder / "model.keras").unlink()
    with pytest.raises(RunFolderError, match="has no model"):
        make_trainer(start_from=folder).run()
    (folder / "run.json").unlink()
    with pytest.raises(RunFolderError, match="Go on: tlkit resume"):
        make_trainer(start_from=folder).run()


def test_old_classes_is_about_a_parent(make_trainer):
    with pytest.raises(ConfigError, match="name it"):
        make_trainer(old_classes="drop")
    with pytest.raises(ConfigError, match="'error', 'drop', 'replay'"):
        make_trainer(old_classes="keep", start_from="runs/a")


@pytest.mark.parametrize(
    ("key", "value"),
    [("accuracy_before", 2), ("ancestors", []), ("known_test_images", -1), ("head", "gone")],
)
def test_a_damaged_lineage_is_found(child, copied, key, value):
    folder = copied(child)
    record = json.loads((folder / "run.json").read_text())
    record["info"]["lineage"][key] = value
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunFolderError, match="is damaged"):
        load_run(folder)


def test_only_a_run_with_a_parent_has_its_keys(make_trainer, parent, child):
    assert "start_from" not in parent.info.config["run"]
    assert parent.info.lineage is None
    assert child.info.config["run"]["start_from"] == str(parent.folder)
    assert child.info.config["run"]["old_classes"] == "error"


def test_the_document_of_a_run_has_its_lineage(parent, child):
    assert Run.of(parent).lineage is None
    document = json.loads(Run.of(child).text())
    jsonschema.Draft202012Validator(Run.json_schema()).validate(document)
    lineage = document["lineage"]
    assert lineage["head"] == "kept"
    assert lineage["accuracy_before"] == pytest.approx(parent.accuracy)
    (ancestor,) = lineage["ancestors"]
    assert (ancestor["folder"], ancestor["epochs"]) == (str(parent.folder), 2)
    with (parent.folder / "model.keras").open("rb") as file:
        assert ancestor["model"] == hashlib.file_digest(file, "sha256").hexdigest()
