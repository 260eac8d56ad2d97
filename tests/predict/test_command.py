import json
import signal

import pytest
from PIL import Image

from tests.tiny import make_images, make_tiny_trainer
from tlkit.predict import command


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_tiny_trainer(tmp_path_factory.mktemp("command")).run()


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, image in enumerate(make_images(12, seed=5)[0]):
        Image.fromarray(image).save(folder / f"{index:02d}.png")
    return folder


def call_predict(tlkit_command, run, *arguments):
    return tlkit_command("predict", run.folder, *arguments, "--engine", "tensorflow")


def test_answers_are_shown_and_nothing_else(tlkit_command, run, pictures):
    code, out, err = call_predict(tlkit_command, run, pictures)
    assert (code, err) == (0, "")
    assert out.count(" %\n") == 12


def test_unreadable_files_are_named_at_the_end_and_a_few_of_many_only(
    tlkit_command, run, pictures, tmp_path
):
    for number in range(100):
        (pictures / f"broken-{number:03d}.png").write_text("broken")
    missing = tmp_path / "missing.png"
    code, out, err = call_predict(tlkit_command, run, missing, pictures, "--out", "answers.csv")
    assert (code, out) == (1, "")
    lines = err.splitlines()
    assert lines[0] == f"error: There is no file or folder {missing}."
    assert len(lines) == command.ERRORS_SHOWN + 2
    assert lines[-2] == "error: 81 more pictures could not be read: see answers.csv."
    assert lines[-1].startswith("113 pictures, 101 not read, 0:")
    assert lines[-1].endswith("tensorflow: answers.csv")
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 114
    assert "lists them all" in call_predict(tlkit_command, run, missing, pictures)[2]


def test_with_a_file_the_document_holds_no_answers(tlkit_command, run, pictures, tmp_path):
    code, out, err = call_predict(
        tlkit_command, run, pictures, "--out", "answers.jsonl", "--top", "9", "--json"
    )
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["predictions"] == []
    assert (document["pictures"], document["unreadable"]) == (12, 0)
    assert document["engine"] == "tensorflow"
    assert document["file"] == str(tmp_path / "answers.jsonl")
    lines = (tmp_path / "answers.jsonl").read_text().splitlines()
    assert [len(json.loads(line)["classes"]) for line in lines] == [3] * 12


@pytest.mark.parametrize(
    ("out", "number_of_signal"),
    [(None, signal.SIGINT), ("answers.csv", signal.SIGINT), ("answers.csv", signal.SIGTERM)],
)
def test_a_signal_says_what_is_kept(
    tlkit_command, run, pictures, tmp_path, monkeypatch, out, number_of_signal
):
    classify = command.classify

    def interrupted(*args, **kwargs):
        for number, item in enumerate(classify(*args, **kwargs)):
            if number == 5:
                signal.raise_signal(number_of_signal)
            yield item

    monkeypatch.setattr(command, "classify", interrupted)
    monkeypatch.setattr("tlkit.answering.exit_on_next_interrupt", lambda: None)
    arguments = [] if out is None else ["--out", out]
    code, _, err = call_predict(tlkit_command, run, pictures, *arguments)
    assert code == 130
    first, second, last = err.splitlines()
    assert first == "Interrupted after 5 of 12 pictures."
    assert last.startswith("Run again: tlkit predict ") or "-m tlkit predict" in last
    if out is None:
        assert second == "Nothing was kept."
    else:
        assert second == "Kept: the answers so far, in answers-unfinished.csv."
        assert len((tmp_path / "answers-unfinished.csv").read_text().splitlines()) == 6
        assert not (tmp_path / out).exists()


def test_an_engine_that_is_not_there_is_named(tlkit_command, run, pictures):
    code, out, err = tlkit_command("predict", run.folder, pictures, "--engine", "opnvino")
    assert (code, out) == (2, "")
    assert "Did you mean 'openvino'?" in err


def test_answers_that_are_too_unsure_are_left_out(tlkit_command, run, pictures):
    arguments = (run, pictures, "--target-accuracy", "0.3")
    code, out, err = call_predict(tlkit_command, *arguments, "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    figures = document["abstention"]
    assert figures["guaranteed_accuracy"] >= 0.3
    missing = [item for item in document["predictions"] if not item["classes"]]
    assert len(missing) == document["abstained"]
    assert all(item["confidences"][0] < figures["threshold"] for item in missing)
    code, out, err = call_predict(tlkit_command, *arguments)
    assert code == 0
    assert out.count("no answer (") == document["abstained"]
    assert f"{100 * figures['threshold']:.1f} %" in err
    code, out, err = call_predict(tlkit_command, run, pictures, "--target-accuracy", "0.999")
    assert (code, out) == (2, "")
    assert "no more than" in err


def test_a_run_without_validation_answers_says_what_to_do(tlkit_command, tmp_path, pictures):
    run = make_tiny_trainer(tmp_path, validation="test").run()
    code, _, err = call_predict(tlkit_command, run, pictures, "--target-accuracy", "0.5")
    assert code == 2
    assert "--set run.validation=0.1" in err


def test_other_files_of_a_folder_are_counted(tlkit_command, run, pictures):
    (pictures / "drawing.svg").write_text("<svg/>")
    (pictures / "no suffix").write_bytes((pictures / "00.png").read_bytes())
    (pictures / ".hidden").write_text("hidden")
    code, out, err = call_predict(tlkit_command, run, pictures)
    assert (code, out.count(" %\n")) == (0, 12)
    assert err.startswith("Left out: 2 other files without the suffix of a picture.")
