import json
import shutil
from datetime import datetime, timedelta

import numpy as np
import pytest

from tests.tiny import Colours, TinyBackbone
from tlkit import RunFolderError, Trainer, load_run, run_folder
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain
from tlkit.features import FeatureStore
from tlkit.wording import date


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    parts = (TinyBackbone(), "linear", Colours(), FreezeAndTrain(1), [])
    return Trainer(*parts, runs=runs, store=FeatureStore(runs / "features")).run().folder


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of a finished run, to damage."""
    return shutil.copytree(finished, tmp_path / finished.name)


def test_two_runs_of_one_second_get_two_folders(tmp_path):
    assert run_folder.create(tmp_path, "a") != run_folder.create(tmp_path, "a")


def test_a_place_that_is_no_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="file"):
        run_folder.create(tmp_path / "file", "a")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", "["),
        ("run.json", "{}"),
        ("run.json", '{"schema_version": 99}'),
        ("predictions.npz", "no zip"),
    ],
)
def test_a_damaged_run_is_named(folder, name, content):
    (folder / name).write_text(content)
    with pytest.raises(RunFolderError, match="is damaged"):
        load_run(folder)


def test_an_unfinished_run_says_how_to_start_it_again(folder):
    (folder / "run.json").unlink()
    with pytest.raises(RunFolderError, match=r"did not finish.*Go on: tlkit resume .*"):
        load_run(folder)
    with pytest.raises(RunFolderError, match="is no run folder"):
        load_run(folder.parent)
    with pytest.raises(RunFolderError, match=r"There is no run folder .*Looked in .*: it holds no"):
        load_run(folder / "nothing")


def test_a_missing_or_damaged_model_is_named(folder):
    (folder / "model.keras").write_text("damaged")
    with pytest.raises(RunFolderError, match=r"is damaged: [^$]*tlkit run .*config.toml"):
        run_folder.load_model(folder)
    with pytest.raises(RunFolderError, match="is a file; allowed is the folder of a run"):
        run_folder.load_model(folder / "model.keras")
    (folder / "model.keras").unlink()
    with pytest.raises(RunFolderError, match="has no model"):
        run_folder.load_model(folder)


def test_a_run_of_before_the_calibration_was_measured_still_reads(folder):
    record = json.loads((folder / "run.json").read_text())
    for key in ("accuracy_interval", "balanced_accuracy", "top_5", "calibration"):
        del record["test"][key]
    (folder / "run.json").write_text(json.dumps(record))
    test = load_run(folder).test
    assert test.accuracy == record["test"]["accuracy"]
    assert test.macro_f1 is not None
    assert test.accuracy_interval is test.balanced_accuracy is test.calibration is None


def test_an_older_run_says_in_its_config_whether_it_was_validated_on_the_test_set(folder):
    record = json.loads((folder / "run.json").read_text())
    assert record["info"].pop("validates_on_test") is False
    del record["fingerprints"]["labels"]
    for validation, expected in ((0.1, False), ("test", True)):
        record["info"]["config"]["run"]["validation"] = validation
        (folder / "run.json").write_text(json.dumps(record))
        assert load_run(folder).info.validates_on_test is expected


def test_the_record_is_json(folder):
    record = json.loads((folder / "run.json").read_text())
    assert record["environment"]["python"]
    assert set(record["fingerprints"]) == {"train", "test", "labels", "weights"}


def test_the_begin_is_recorded_and_older_runs_have_it_in_their_name(folder):
    began = datetime.fromisoformat(load_run(folder).info.began)
    assert began.utcoffset() is not None
    assert timedelta(0) <= datetime.now().astimezone() - began < timedelta(minutes=10)
    path = folder / "run.json"
    record = json.loads(path.read_text())
    del record["info"]["began"]
    path.write_text(json.dumps(record))
    stamp = began.replace(tzinfo=None)
    older = datetime.fromisoformat(load_run(folder).info.began)
    assert timedelta(0) <= older - stamp < timedelta(minutes=10)
    other = folder.rename(folder.with_name("renamed"))
    assert load_run(other).info.began == ""


@pytest.mark.parametrize("name", ["99999999-999999-a", "20261124-120816abc", "20261124"])
def test_a_name_that_only_looks_like_a_time_gives_no_date(folder, name):
    path = folder / "run.json"
    record = json.loads(path.read_text())
    del record["info"]["began"]
    path.write_text(json.dumps(record))
    assert date(load_run(folder.rename(folder.with_name(name))).info.began) == ""


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("test", "accuracy"), "0.5"),
        (("test", "accuracy"), float("nan")),
        (("test", "confusion_matrix"), [[1]]),
        (("test", "confusion_matrix", 0), None),
        (("test", "classes", 0, "support"), None),
        (("info", "config"), None),
        (("info", "config", "head"), None),
        (("info", "config", "test_time_augmentation"), {"scales": ["x"]}),
        (("info", "class_names"), []),
        (("info", "num_train"), 10**30),
        (("phases",), []),
        (("phases", 0, "phase", "num_images"), "x"),
        (("phases", 0, "history", "loss"), {"0": 1.0}),
        (("phases", 0, "kept_epoch"), -1),
        (("seconds", "total"), 1e300),
        (("seconds",), {"training": 1.0}),
        (("fingerprints",), [1]),
        (("extractions", 0, "stage_seconds"), None),
    ],
)
def test_a_record_of_other_values_is_damaged(folder, keys, value):
    record = json.loads((folder / "run.json").read_text())
    place = record
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunFolderError, match="is damaged"):
        load_run(folder)


@pytest.mark.parametrize(
    "arrays",
    [
        {"labels": np.float64(1)},
        {"labels": np.full(30, 3)},
        {"probabilities": np.zeros((30, 2), np.float32)},
        {"probabilities": np.full((30, 3), np.nan, np.float32)},
    ],
)
def test_predictions_that_do_not_fit_are_damaged(folder, arrays):
    with np.load(folder / "predictions.npz") as stored:
        np.savez(folder / "predictions.npz", **{**stored, **arrays})
    with pytest.raises(RunFolderError, match="is damaged"):
        load_run(folder)


def test_a_class_name_that_is_no_text_is_read_back(folder):
    record = json.loads((folder / "run.json").read_text())
    record["info"]["class_names"][0] = record["test"]["classes"][0]["name"] = "\udcff"
    (folder / "run.json").write_text(json.dumps(record))
    assert load_run(folder).info.class_names[0] == "\udcff"


@pytest.mark.parametrize(
    "change", [{"temperature": None}, {"temperature": 0.0}, {"calibrated": None}]
)
def test_a_calibration_without_its_temperature_is_damaged(folder, change):
    record = json.loads((folder / "run.json").read_text())
    share = {"expected_calibration_error": 0.1, "error_by_chance": 0.1, "loss": 0.5, "bins": []}
    calibration = {"uncalibrated": share, "calibrated": share, "temperature": 1.2}
    record["test"]["calibration"] = calibration
    (folder / "run.json").write_text(json.dumps(record))
    assert load_run(folder).test.calibration.temperature == 1.2
    record["test"]["calibration"] = {**calibration, **change}
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunFolderError, match="temperature"):
        load_run(folder)


def test_what_the_model_says_of_validation_images_reads_back(tmp_path):
    result = Trainer(
        TinyBackbone(), "linear", Colours(), FreezeAndTrain(1), [], runs=tmp_path, calibrate=True
    ).run()
    labels, probabilities = run_folder.load_validation(load_run(result.folder))
    assert len(labels) == result.info.num_validation
    np.testing.assert_array_equal(labels, result.validation[0])
    np.testing.assert_array_equal(probabilities, result.validation[1])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_validation_answers_that_are_missing_or_damaged_are_named(folder):
    path = folder / run_folder.VALIDATION
    np.savez(path, labels=np.array([7]), probabilities=np.full((1, 3), 0.5, np.float32))
    with pytest.raises(RunFolderError, match=r"validation.npz is damaged: .*labels are 7 to 7"):
        run_folder.load_validation(load_run(folder))
    path.unlink()
    with pytest.raises(RunFolderError, match=r"an earlier version made it.*tlkit run"):
        run_folder.load_validation(load_run(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record["info"]["config"]["backbone"].update(name=5), r"backbone\.name"),
        (lambda record: record["phases"][0]["history"].update(accuracy=[1e308]), "accuracy of an"),
        (lambda record: record["phases"][0]["history"].update(loss=[1e300]), "loss of an epoch"),
    ],
)
def test_values_that_no_run_leaves_are_damage(folder, change, message):
    record = json.loads((folder / "run.json").read_text())
    change(record)
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunFolderError, match=message):
        load_run(folder)
