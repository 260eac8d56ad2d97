import contextlib
import csv
import json
import math
import tempfile
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit import ConfigError
from tlkit.documents.predict import Predictions
from tlkit.predict import files
from tlkit.predict.files import answer_file, check_answer_path, unfinished_path
from tlkit.predictor import Prediction

ANSWERS = [
    Prediction("a.png", ("cat", "dog"), (0.75, 0.25)),
    Prediction("=cmd()|'x'.png", ("@dog\x1b[2J", "cat"), (0.6, 0.4)),
    Prediction("c\udcff.png", error='Cannot read, "c"\nit is empty'),
]
SUFFIXES = [".csv", ".json", ".jsonl", ".parquet"]


def write(path, answers=ANSWERS, top=2):
    with answer_file(path, top) as file:
        for item in answers:
            file.write(item)
        file.close(summary(path))


def summary(path):
    return Predictions(
        run=path.parent,
        predictions=[],
        status="failed",
        pictures=3,
        unreadable=1,
        engine="tensorflow",
        seconds=1.0,
        file=path,
    )


def read(path):
    """Return paths, first classes, first confidences and errors, whatever the format."""
    if path.suffix == ".csv":
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines(True)))
    elif path.suffix == ".parquet":
        rows = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    else:
        text = path.read_text(encoding="ascii")
        items = (
            json.loads(text)["predictions"]
            if path.suffix == ".json"
            else list(map(json.loads, text.splitlines()))
        )
        rows = [
            {
                "path": item["path"],
                "class": (item["classes"] or [None])[0],
                "confidence": (item["confidences"] or [None])[0],
                "error": item["error"],
            }
            for item in items
        ]
    return [
        (
            Path(row["path"]).name,
            row["class"] or None,
            float(row["confidence"]) if row["confidence"] not in (None, "") else None,
            bool(row["error"]),
        )
        for row in rows
    ]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_reads_back(tmp_path, suffix):
    path = tmp_path / f"answers{suffix}"
    write(path)
    first, second, third = read(path)
    assert first == ("a.png", "cat", 0.75, False)
    assert second[2] == pytest.approx(0.6)
    assert third[1:] == (None, None, True)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_cells_of_a_csv_are_no_formulas_and_move_no_cursor(tmp_path):
    path = tmp_path / "answers.csv"
    write(path)
    header, first, second, third = csv.reader(path.read_text(encoding="utf-8").splitlines())
    assert header == [
        "path",
        "class",
        "confidence",
        "class_2",
        "confidence_2",
        "abstained",
        "distance",
        "unfamiliar",
        "error",
    ]
    assert first == ["a.png", "cat", "0.750000", "dog", "0.250000", "", "", "", ""]
    assert second[:2] == ["'=cmd()|'x'.png", "'@dog\\x1b[2J"]
    assert third == ["c\\udcff.png", "", "", "", "", "", "", "", 'Cannot read, "c"\\x0ait is empty']


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_abstention_has_a_confidence_and_no_class(tmp_path, suffix):
    path = tmp_path / f"answers{suffix}"
    write(path, [Prediction("a.png", (), (0.5, 0.25), abstained=True)])
    assert read(path) == [("a.png", None, 0.5, False)]
    if suffix == ".csv":
        assert (
            path.read_text(encoding="utf-8").splitlines()[1] == "a.png,,0.500000,,0.250000,true,,,"
        )


def test_the_json_file_is_the_document(tmp_path):
    path = tmp_path / "answers.json"
    write(path)
    document = json.loads(path.read_text(encoding="ascii"))
    jsonschema.validate(document, Predictions.json_schema())
    assert document["schema"] == "tlkit.predict/1"
    assert document["status"] == "failed"
    assert len(document["predictions"]) == 3
    write(path, [])
    assert json.loads(path.read_text(encoding="ascii"))["predictions"] == []


def test_parquet_has_numbers_and_is_written_in_groups(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(files, "ROW_GROUP", 2)
    path = tmp_path / "answers.parquet"
    write(path)
    found = parquet.ParquetFile(path)
    assert found.num_row_groups == 2
    assert str(found.schema_arrow.field("confidence_2").type) == "float"
    assert found.read().column("confidence").to_pylist() == [0.75, pytest.approx(0.6), None]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_ctrl_c_keeps_the_answers_so_far_under_another_name(tmp_path, suffix):
    path = tmp_path / f"answers{suffix}"
    path.write_text("of before")
    with contextlib.suppress(KeyboardInterrupt), answer_file(path, 2) as file:
        file.write(ANSWERS[0])
        raise KeyboardInterrupt
    assert path.read_text() == "of before"
    assert read(unfinished_path(path)) == [("a.png", "cat", 0.75, False)]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_another_error_or_no_answer_leaves_nothing(tmp_path, error):
    with pytest.raises(error), answer_file(tmp_path / "answers.csv", 2):
        raise error
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_error(tmp_path):
    with (
        pytest.raises(ConfigError, match=r"Cannot write .*answers\.csv: No space left.*--out"),
        answer_file(tmp_path / "answers.csv", 2),
    ):
        raise OSError(28, "No space left on device")


def test_impossible_places_are_refused_before_anything_is_computed(tmp_path, monkeypatch):
    for name in ("answers.xlsx", "answers"):
        with pytest.raises(ConfigError, match=r"Allowed: \.csv, \.json, \.jsonl, \.parquet"):
            check_answer_path(tmp_path / name)
    with pytest.raises(ConfigError, match="there is no folder"):
        check_answer_path(tmp_path / "nothing" / "a.csv")
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(ConfigError, match="it is a folder"):
        check_answer_path(tmp_path / "a.csv")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(ConfigError, match=r"pip install 'tlkit\[parquet\]'"):
        check_answer_path(tmp_path / "a.parquet")
    check_answer_path(tmp_path / "A.CSV")


names = st.text(st.characters(exclude_characters="/\0"), max_size=20)
shares = st.floats(0, 1, width=32) | st.just(math.nan)


@settings(max_examples=25)
@given(st.lists(st.tuples(names, names, shares, st.none() | names), max_size=5))
def test_any_text_is_written_in_any_format(rows):
    answers = [
        Prediction(f"/{path}", (name,), (share,))
        if error is None
        else Prediction(path, error=error)
        for path, name, share, error in rows
    ]
    with tempfile.TemporaryDirectory() as folder:
        for suffix in SUFFIXES:
            path = Path(folder, f"answers{suffix}")
            write(path, answers, top=1)
            assert len(read(path)) == len(answers) or (suffix == ".csv" and not answers)
