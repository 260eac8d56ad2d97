import json
import re
import shutil
from pathlib import Path

import pytest

from tests.test_hostile_names import CLASSES
from tlkit import DataError, load_run
from tlkit.export import Settings, export_run, prepare
from tlkit.export.formats import format_of
from tlkit.export.metadata import as_text, metadata_of


@pytest.fixture
def run(digits_run, tmp_path):
    """A copy of the run, to write into."""
    folder = tmp_path / "run"
    shutil.copytree(digits_run.folder, folder)
    return folder


def record(folder):
    return json.loads((folder / "export" / "export.json").read_text())


def without_data(folder):
    record = json.loads((folder / "run.json").read_text())
    assert record["info"]["config"]["dataset"]["name"] == "digits"
    record["info"]["config"]["dataset"] = {"name": "folder", "path": "/x"}
    (folder / "run.json").write_text(json.dumps(record))


def test_files_a_table_and_figures(tlkit_command, run):
    code, out, err = tlkit_command("export", run, "--to", "onnx,openvino", "--to", "onnx")
    assert code == 0, err
    assert "Traceback" not in err
    lines = out.splitlines()
    header = next(line for line in lines if line.startswith("File"))
    assert re.split("  +", header) == [
        *("File", "Size (MB)", "Accuracy (%)", "Differs"),
        *("images/s, 1", "images/s, 32", "Memory (MB)"),
    ]
    for name in ("model.onnx", "openvino/"):
        (row,) = [line for line in lines if line.startswith(f"{name} ")]
        assert float(row.split()[2]) == pytest.approx(100 * load_run(run).accuracy, abs=0.01)
        assert len(row) == len(header)  # flush right
    assert "In parentheses" not in out
    assert any(line.endswith("openvino/") for line in lines if line.startswith("Written: "))
    assert f"the run's is {100 * load_run(run).accuracy:.2f} %" in out
    assert max(map(len, lines)) < 120
    assert (run / "export" / "openvino" / "model.bin").is_file()
    kept = json.loads((run / "export" / "export.json").read_text())
    assert kept["schema"] == "tlkit.export/1"
    assert [item["format"] for item in kept["files"]] == ["onnx", "openvino"]
    for item in kept["files"]:
        assert item["accuracy"] == pytest.approx(load_run(run).accuracy)
        assert item["largest_difference"] < 1e-4
        assert item["images_per_second_32"] > 0
        assert item["error"] is None
        assert item["checked"] is True
        assert item["tolerance"] == 1.0
        assert item["file"] == item["place"]
    assert not list(run.rglob(".tlkit-unfinished-*"))
    found = json.loads(format_of("onnx").metadata(run / "export" / "model.onnx"))
    assert found["class_names"] == [str(digit) for digit in range(10)]
    assert found["run"]["dataset"] == "digits"
    assert found["run"]["test_accuracy"] == load_run(run).accuracy
    assert found["preprocessing"]["resize"]["height"] == 16


def test_figures_of_other_files_are_kept_while_the_files_are_there(tlkit_command, run):
    figures = run / "export" / "export.json"
    (run / "export").mkdir()
    figures.write_text("broken")
    assert tlkit_command("export", run, "--to", "onnx")[0] == 0
    assert tlkit_command("export", run, "--to", "onnx", "--precision", "float16")[0] == 0
    found = json.loads(figures.read_text())["files"]
    assert [item["precision"] for item in found] == ["float32", "float16"]
    (run / "export" / "model.onnx").unlink()
    assert tlkit_command("export", run, "--to", "onnx", "--precision", "float16")[0] == 0
    assert [item["precision"] for item in json.loads(figures.read_text())["files"]] == ["float16"]


def test_the_record_is_true_of_a_file_that_replaces_another(tlkit_command, run):
    assert tlkit_command("export", run, "--to", "onnx")[0] == 0
    assert record(run)["files"][0]["accuracy"] > 0
    again = ("export", run, "--to", "onnx", "--no-check", "--input-size", "64x64")
    # The same file by another path.
    link = run.parent / "link"
    link.symlink_to(run)
    assert tlkit_command(*again, "--out", link / "export")[0] == 0
    kept = record(run)
    (known,) = kept["files"]
    assert known["checked"] is False
    assert known["input_size"] == [64, 64]
    assert known["bytes"] == (run / "export" / "model.onnx").stat().st_size
    for figure in ("tolerance", "accuracy", "accuracy_change", "largest_difference"):
        assert known[figure] is None
    assert kept["status"] == "ok"


def test_a_refused_file_is_in_the_record_until_it_is_written(tlkit_command, run, spoiled):
    arguments = ("export", run, "--to", "onnx", "--precision", "float16")
    assert tlkit_command(*arguments)[0] == 1
    kept = record(run)
    (known,) = kept["files"]
    assert kept["status"] == "failed"
    assert known["file"] is None
    assert known["place"] == str(run / "export" / "model-float16.onnx")
    assert "percentage points" in known["error"]
    assert tlkit_command(*arguments, "--allow-loss")[0] == 0
    kept = record(run)
    (known,) = kept["files"]
    assert kept["status"] == "ok"
    assert known["error"] is None
    assert "percentage points" in known["warning"]
    # The one that stays is what the record is of.
    assert tlkit_command(*arguments)[0] == 1
    assert record(run) == kept


def test_a_record_that_cannot_be_kept_is_said(tlkit_command, run, tmp_path):
    (run / "export").write_text("in the way")
    code, _, err = tlkit_command(
        "export", run, "--to", "onnx", "--no-check", "--out", tmp_path / "MINE.ONNX"
    )
    assert code == 0
    assert (tmp_path / "MINE.ONNX").is_file()
    assert "The figures are not kept" in err


def test_what_a_format_does_not_have_is_left_out_beside_others(tlkit_command, run):
    without_data(run)
    code, _, err = tlkit_command(
        "export", run, "--to", "keras", "--precision", "float32,int8", "--no-check", "--json"
    )
    assert code == 0, err
    assert "note: the format 'keras' has no int8: left out." in err
    assert [item["precision"] for item in record(run)["files"]] == ["float32"]


@pytest.fixture
def spoiled(monkeypatch):
    """Make float16 files that answer nonsense."""
    from onnx import numpy_helper

    def spoil(network):
        for weight in network.graph.initializer:
            values = numpy_helper.to_array(weight)
            if values.dtype == "float32" and values.ndim > 1:
                weight.CopyFrom(numpy_helper.from_array(0 * values, weight.name))

    monkeypatch.setattr("tlkit.export.onnx_format._halve_weights", spoil)


def test_a_file_beyond_the_tolerance_is_not_put_in_place(tlkit_command, run, spoiled):
    target = run / "export" / "model-float16.onnx"
    target.parent.mkdir()
    target.write_bytes(b"an earlier one")
    arguments = ("export", run, "--to", "onnx", "--precision", "float32,float16")
    code, out, err = tlkit_command(*arguments)
    assert code == 1
    assert "model-float16.onnx is not written: the test accuracy changes by -" in err
    assert re.search(r"percentage points \(net \d+ of \d+ images\), more than", err)
    assert "(In parentheses): refused" in out
    assert "--allow-loss" in err
    assert "(model-float16.onnx)" in out
    assert target.read_bytes() == b"an earlier one"
    assert (run / "export" / "model.onnx").is_file()
    kept = json.loads((run / "export" / "export.json").read_text())
    assert [item["precision"] for item in kept["files"]] == ["float32"]
    assert kept["status"] == "ok"

    code, out, err = tlkit_command(*arguments, "--allow-loss", "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["status"] == "ok"
    assert "percentage points" in document["files"][1]["warning"]
    assert target.stat().st_size > 1000


def test_another_tolerance_lets_it_pass(tlkit_command, run, spoiled):
    code, out, err = tlkit_command(
        "export", run, "--to", "onnx", "--precision", "float16", "--tolerance", 100, "--json"
    )
    assert code == 0, err
    assert json.loads(out)["files"][0]["warning"] is None
    assert json.loads(out)["files"][0]["accuracy_change"] < -0.05


def test_one_file_by_its_name(tlkit_command, run, tmp_path):
    code, out, _ = tlkit_command(
        "export", run, "--to", "onnx", "--no-check", "--out", tmp_path / "new" / "mine.onnx"
    )
    assert code == 0
    assert (tmp_path / "new" / "mine.onnx").is_file()
    assert "Not checked" in out
    (known,) = record(run)["files"]
    assert known["file"] == str(tmp_path / "new" / "mine.onnx")
    assert [path.name for path in (run / "export").iterdir()] == ["export.json"]


def test_without_the_data_only_unchecked_files_can_be_made(tlkit_command, run):
    without_data(run)
    code, _, err = tlkit_command("export", run, "--to", "onnx")
    assert code == 2
    assert "each file is checked on the test images" in err
    assert "--no-check" in err
    assert not (run / "export").exists()
    code, _, err = tlkit_command("export", run, "--to", "onnx", "--precision", "int8", "--no-check")
    assert code == 2
    assert "int8 is fitted on validation images" in err
    assert "Or export" not in err
    assert tlkit_command("export", run, "--to", "onnx", "--no-check")[0] == 0
    assert (run / "export" / "model.onnx").is_file()
    (known,) = record(run)["files"]
    assert known["checked"] is False
    assert known["bytes"] == (run / "export" / "model.onnx").stat().st_size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "onx"], "Did you mean 'onnx'"),
        (["--to", ","], "No format is named"),
        (["--to", "keras", "--precision", "int8"], "'keras' has no int8; allowed: float32"),
        (["--to", "onnx", "--precision", "int4"], "precision = 'int4' is not allowed: float32"),
        (["--to", "onnx", "--tolerance", "-1"], "tolerance = -1.0 is not allowed: 0 to 100"),
        (["--to", "onnx", "--tolerance", "nan"], "tolerance = nan is not allowed"),
        (["--to", "onnx", "--input-size", "32"], "such as 224x224"),
        (["--to", "onnx", "--input-size", "0x32"], "height and width, 1 to 16,384"),
        (["--to", "h5", "--input-size", "9x32"], "leave --input-size out"),
        (["--to", "keras,h5", "--precision", "int8"], "'keras' has no int8; allowed: float32"),
        (["--to", "onnx", "--out", "x.tflite"], "it ends in .tflite, and the suffix of the"),
        (["--to", "openvino", "--out", "x.onnx"], "'openvino' is: none, as it is a folder"),
        (["--to", "onnx,h5", "--out", "x.onnx"], "it is the name of one file, and 2 are asked"),
    ],
)
def test_bad_input_is_one_error_before_any_work(tlkit_command, run, arguments, message):
    code, _, err = tlkit_command("export", run, *arguments)
    assert code == 2
    assert message in err
    assert not (run / "export").exists()


def test_no_run_is_no_export(tlkit_command, tmp_path):
    code, _, err = tlkit_command("export", tmp_path / "nothing", "--to", "onnx")
    assert code == 2
    assert "There is no run folder" in err


def test_a_place_that_cannot_be_written_is_said(tlkit_command, run, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = tlkit_command(
        "export", run, "--to", "onnx", "--no-check", "--out", tmp_path / "file"
    )
    assert code == 2
    assert "Cannot write" in err
    assert "--out" in err


def test_pictures_of_several_sizes_and_a_dataset_from_python(shades_run):
    settings = Settings(("onnx",), ("float32", "int8"), tolerance=15.0, calibration_images=10)
    with pytest.raises(DataError, match="`dataset=`"):
        prepare(shades_run.folder, settings)
    job = prepare(shades_run.folder, settings, dataset=shades_run.dataset)
    plain, small = export_run(job)
    assert plain.error is None
    assert plain.figures.largest_difference < 1e-4
    assert small.error is None
    # The same again at one size, which the test pictures are brought to for the check.
    fixed = Settings(("onnx",), input_size=(18, 18))
    steps = []
    job = prepare(shades_run.folder, fixed, dataset=shades_run.dataset)
    (found,) = export_run(job, steps.append)
    assert found.error is None
    assert steps == [
        "loading the model",
        "classifying 24 test images with Keras",
        "converting model.onnx (1 of 1)",
        "checking model.onnx (1 of 1)",
    ]
    metadata = json.loads(format_of("onnx").metadata(found.file))
    assert metadata["input"]["shape"] == [None, 18, 18, 3]


def test_one_format_that_fails_does_not_stop_the_others(tlkit_command, run, monkeypatch):
    monkeypatch.setattr("tlkit.export.keras_format.fits_h5", lambda model: False)
    code, out, err = tlkit_command("export", run, "--to", "h5,onnx")
    assert code == 1
    assert "model.h5 is not written: This model does not fit" in err
    assert "--allow-loss" not in err
    assert "Written" in out
    assert (run / "export" / "model.onnx").is_file()
    assert not (run / "export" / "model.h5").exists()


def test_whatever_a_converter_raises_is_one_error(tlkit_command, run, monkeypatch):
    def fails(*args):
        raise KeyError("inner")

    monkeypatch.setattr("tlkit.export.onnx_format._halve_weights", fails)
    code, _, err = tlkit_command(
        "export", run, "--to", "onnx", "--precision", "float16", "--no-check"
    )
    assert code == 1
    assert "cannot be written as onnx in float16: KeyError: 'inner'." in err
    assert "Traceback" not in err
    assert [path.name for path in (run / "export").iterdir()] == ["export.json"]


def test_a_folder_takes_the_place_of_an_earlier_one(tlkit_command, run):
    earlier = run / "export" / "openvino"
    earlier.mkdir(parents=True)
    (earlier / "old").write_text("")
    assert tlkit_command("export", run, "--to", "openvino", "--no-check")[0] == 0
    assert sorted(path.name for path in earlier.iterdir()) == ["model.bin", "model.xml"]
    found = sorted(path.name for path in (run / "export").iterdir())
    assert found == ["export.json", "openvino"]


def test_the_metadata_names_no_path_and_keeps_every_class_name(digits_run, model):
    from dataclasses import replace

    run = load_run(digits_run.folder)
    names = (*CLASSES, "\udce9")
    config = {**run.info.config, "backbone": {"name": "x", "weights": "/home/me/w.h5", "alpha": 1}}
    run = replace(run, info=replace(run.info, class_names=names, config=config))
    text = as_text(metadata_of(run, model, "int8", (20, 30)))
    assert text.isascii()
    found = json.loads(text)
    assert tuple(found["class_names"]) == names
    assert found["run"]["backbone"] == {"name": "x", "alpha": 1}
    assert found["input"]["shape"] == [None, 20, 30, 3]
    assert found["output"]["shape"] == [None, len(names)]
    assert len(found["run"]["config_sha256"]) == 64
    assert str(Path.home()) not in text


@pytest.mark.slow
def test_a_real_loss_is_refused(mobile_run, tlkit_command, tmp_path):
    code, out, err = tlkit_command(
        *("export", mobile_run, "--to", "onnx", "--precision", "float32,int8"),
        *("--out", tmp_path / "files", "--json"),
    )
    assert code == 1, err
    plain, small = json.loads(out)["files"]
    assert plain["accuracy"] > 0.8
    assert plain["error"] is None
    # Eight bits are too few for this small network on these enlarged digits.
    assert small["accuracy_change"] < -0.05
    assert small["file"] is None
    assert [path.name for path in (tmp_path / "files").iterdir()] == ["model.onnx"]
