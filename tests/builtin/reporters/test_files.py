import csv
import dataclasses
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlkit import Duplicate, PhaseResult, PictureNote, safe_cell
from tlkit.builtin.reporters.files import (
    FilesReporter,
    figures_text,
    metrics,
    report_text,
    write_csv,
)

FILES = {
    "metrics.json",
    "history.csv",
    "classification_report.csv",
    "classification_report.txt",
    "confusion_matrix.csv",
    "predictions.csv",
}


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_all_files_and_nothing_else(fake_result, tmp_path):
    FilesReporter().on_run_end(fake_result(folder=tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == FILES


def test_no_folder_no_files(fake_result, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    FilesReporter().on_run_end(fake_result())
    assert list(tmp_path.iterdir()) == []


def test_metrics(fake_result, tmp_path):
    result = fake_result(folder=tmp_path)
    FilesReporter().on_run_end(result)
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert figures["schema_version"] == 1
    test = figures["test"]
    assert tuple(test["accuracy_interval"]) == result.test.accuracy_interval
    assert test["balanced_accuracy"] == result.test.balanced_accuracy
    assert test["macro_f1"] == result.test.averages[0].f1
    assert test["top_5"] == result.test.top_5
    assert test["calibration"]["temperature"] is None
    assert test["calibration"]["reason"] == "validation is the test set"
    counts = [item["count"] for item in test["calibration"]["uncalibrated"]["bins"]]
    assert sum(counts) == test["images"]
    assert figures["test"]["accuracy"] == result.accuracy
    assert figures["test"]["loss"] == result.test.loss
    assert [item["name"] for item in figures["test"]["classes"]] == list(result.info.class_names)
    assert [item["name"] for item in figures["test"]["averages"]] == ["macro avg", "weighted avg"]
    assert [item["epochs"] for item in figures["phases"]] == [5, 3]
    assert figures["phases"][0]["last_epoch"]["val_accuracy"] == pytest.approx(0.72)
    assert figures["seconds"]["total"] == 48.9


def test_the_figures_of_the_epoch_whose_weights_were_kept(fake_result, tmp_path):
    result = fake_result(folder=tmp_path)
    first = dataclasses.replace(result.phases[0], kept_epoch=2)
    FilesReporter().on_run_end(dataclasses.replace(result, phases=(first, result.phases[1])))
    first, second = json.loads((tmp_path / "metrics.json").read_text())["phases"]
    assert first["kept_epoch"]["epoch"] == 2
    assert first["kept_epoch"]["val_accuracy"] == pytest.approx(0.6)
    assert first["last_epoch"]["val_accuracy"] == pytest.approx(0.72)
    assert second["kept_epoch"] == {"epoch": 3, **second["last_epoch"]}


def test_a_loss_that_is_no_number_is_null(fake_result, tmp_path):
    FilesReporter().on_run_end(fake_result(folder=tmp_path, loss=float("nan")))
    text = (tmp_path / "metrics.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["phases"][0]["last_epoch"]["loss"] is None


def test_numpy_numbers_are_written(fake_result, tmp_path):
    result = fake_result(folder=tmp_path)
    phase = result.phases[0]
    history = {key: list(np.float32(values)) for key, values in phase.history.items()}
    FilesReporter().on_run_end(
        replace(result, phases=(PhaseResult(phase.phase, history, phase.seconds),))
    )
    assert float(read(tmp_path / "history.csv")[1][3]) == pytest.approx(0.35)


def test_history_numbers_the_epochs_through(fake_result, tmp_path):
    FilesReporter().on_run_end(fake_result(folder=tmp_path))
    head, *rows = read(tmp_path / "history.csv")
    assert head == ["phase", "epoch", "loss", "accuracy", "val_loss", "val_accuracy"]
    assert [row[1] for row in rows] == [str(number) for number in range(1, 9)]
    assert [row[0] for row in rows] == ["frozen"] * 5 + ["fine-tune"] * 3
    assert float(rows[0][2]) == 1.8


def test_history_without_validation_leaves_the_cells_empty(fake_result, tmp_path):
    FilesReporter().on_run_end(fake_result(folder=tmp_path, validation=False))
    assert all(row[4:] == ["", ""] for row in read(tmp_path / "history.csv")[1:])


def test_no_phases(fake_result, tmp_path):
    FilesReporter().on_run_end(fake_result(folder=tmp_path, epochs=()))
    assert len(read(tmp_path / "history.csv")) == 1


@pytest.mark.parametrize("missing_class", [False, True])
def test_the_text_report_is_that_of_scikit_learn(fake_result, missing_class):
    from sklearn.metrics import classification_report

    result = fake_result(missing_class=missing_class)
    expected = classification_report(
        result.test.labels,
        result.test.predictions,
        labels=range(10),
        target_names=result.info.class_names,
        zero_division=0,
    )
    assert report_text(result.test) == expected


def test_the_text_report_ends_in_what_scikit_learn_leaves_out(fake_result, tmp_path):
    result = fake_result(folder=tmp_path, temperature=0.8)
    FilesReporter().on_run_end(result)
    text = (tmp_path / "classification_report.txt").read_text()
    assert text == f"{report_text(result.test)}\n{figures_text(result.test)}"
    low, high = (100 * end for end in result.test.accuracy_interval)
    assert f"(95 % interval {low:.1f} to {high:.1f})\n" in text
    assert f"Macro F1:           {100 * result.test.macro_f1:.1f} %\n" in text
    calibration = result.test.calibration
    before = 100 * calibration.uncalibrated.expected_calibration_error
    after = 100 * calibration.calibrated.expected_calibration_error
    assert f"Calibration error:  {before:.1f} % ({after:.1f} % with temperature 0.80)\n" in text
    chance = 100 * calibration.uncalibrated.error_by_chance
    assert text.endswith(f"- by chance alone:  {chance:.1f} %, if every confidence were true\n")


def test_a_run_of_before_has_its_figures_alone(old_result, tmp_path):
    text = figures_text(old_result.test)
    assert [line.split(":")[0] for line in text.splitlines()] == ["Accuracy", "Macro F1"]
    assert "interval" not in text
    assert metrics(old_result)["test"]["calibration"] is None


def test_report_and_confusion_matrix(fake_result, tmp_path):
    result = fake_result(folder=tmp_path)
    FilesReporter().on_run_end(result)
    report = read(tmp_path / "classification_report.csv")
    assert len(report) == 1 + 10 + 2
    assert float(report[1][3]) == result.test.classes[0].f1
    matrix = read(tmp_path / "confusion_matrix.csv")
    assert matrix[0][1:] == list(result.info.class_names)
    counts = [[int(cell) for cell in row[1:]] for row in matrix[1:]]
    assert counts == result.test.confusion_matrix.tolist()


def test_predictions_with_and_without_names(fake_result, tmp_path):
    result = fake_result(folder=tmp_path)
    names = tuple(f"picture {index}.png" for index in range(500))
    FilesReporter().on_run_end(result, test_names=names)
    rows = read(tmp_path / "predictions.csv")
    assert rows[0] == ["index", "name", "true", "predicted", "confidence"]
    assert rows[2][:3] == ["1", "picture 1.png", "automobile"]
    assert sum(row[2] == row[3] for row in rows[1:]) / 500 == result.accuracy
    FilesReporter().on_run_end(result, test_names=("only one",))
    assert {row[1] for row in read(tmp_path / "predictions.csv")[1:]} == {""}


def test_nasty_names(fake_result, nasty_names, tmp_path):
    result = fake_result(nasty_names, folder=tmp_path)
    FilesReporter().on_run_end(result, test_names=("caf\udce9.png",) * 500)
    assert read(tmp_path / "confusion_matrix.csv")[7][0] == "'=cmd()|' /C calc'!A0"
    report = (tmp_path / "classification_report.txt").read_text(encoding="utf-8")
    assert not set(report) & set("\x1b\x07\u202e\t")
    assert report.count("\n") == 2 + 10 + 1 + 3 + 1 + 6
    classes = json.loads((tmp_path / "metrics.json").read_text())["test"]["classes"]
    assert classes[2]["name"] == nasty_names[2]


@given(
    st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=4))
)
def test_csv_is_read_back_as_it_was(rows):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        write_csv(path, rows)
        assert read(path) == [[safe_cell(cell) for cell in row] for row in rows]


def test_the_training_images_of_each_class_are_in_the_metrics(fake_result, tmp_path):
    counts = {"class_counts": (*[100] * 9, 25), "duplicates": {"test": 3, "train": 0}}
    FilesReporter().on_run_end(fake_result(folder=tmp_path, **counts))
    train = json.loads((tmp_path / "metrics.json").read_text())["train"]
    assert train["images"] == 45000
    assert train["classes"][9] == {"name": "truck", "images": 25}
    assert train["imbalance"] == 4.0
    assert train["duplicates"] == {"test": 3, "train": 0}


def test_a_class_without_training_images_is_valid_json(fake_result, tmp_path):
    FilesReporter().on_run_end(fake_result(folder=tmp_path, class_counts=(*[100] * 9, 0)))
    assert json.loads((tmp_path / "metrics.json").read_text())["train"]["imbalance"] is None


def test_pictures_and_leakage_are_listed_when_the_run_begins(fake_result, tmp_path):
    pictures = (
        PictureNote("a.png", ("greyscale", "transparent"), ("made RGB", "laid on white")),
        PictureNote("=cmd().png", ("broken",), ("it is empty",)),
    )
    duplicates = (
        Duplicate("test", 3, "t/a.png", 0, 7, "@b.png", 1, 2),
        Duplicate("validation", 5, "", 2, 9, "", 2, 1),
        Duplicate("validation", 6, "", 2, 8, "", 2, 1, equals="test"),
    )
    info = fake_result(folder=tmp_path).info
    FilesReporter().on_run_begin(info, pictures=pictures, duplicates=duplicates)
    assert read(tmp_path / "pictures.csv") == [
        ["name", "kind", "what was done"],
        ["a.png", "greyscale; transparent", "made RGB; laid on white"],
        ["'=cmd().png", "broken", "left out: it is empty"],
    ]
    rows = read(tmp_path / "leakage.csv")
    first = ["test", "3", "t/a.png", "airplane", "7", "'@b.png", "automobile", "2", "yes", "train"]
    assert rows[1] == first
    assert rows[2] == ["validation", "5", "", "bird", "9", "", "bird", "1", "no", "train"]
    assert rows[3] == ["validation", "6", "", "bird", "8", "", "bird", "1", "no", "test"]
    assert len(rows[0]) == 10


def test_nothing_is_listed_where_there_is_nothing(fake_result, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    note = PictureNote("a.png", ("greyscale",), ("made RGB",))
    FilesReporter().on_run_begin(fake_result(folder=tmp_path).info, pictures=(), duplicates=())
    FilesReporter().on_run_begin(fake_result(folder=tmp_path).info)
    FilesReporter().on_run_begin(fake_result().info, pictures=(note,))
    assert list(tmp_path.iterdir()) == []
