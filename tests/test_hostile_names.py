"""Class names and file names that attack whatever shows them, through a whole run."""

import csv
import json
import os
import re
import shutil
import tomllib
import unicodedata

import html5lib
import numpy as np
import pytest
import yaml
from PIL import Image

from tests.tiny import TinyBackbone
from tlkit import Trainer, load_run
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain

CLASSES = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "</script><!-- ]]> --><svg/onload=alert(3)>",
    '"><a href="javascript:alert(4)">{{ 7*7 }}{% raw %}',
    "=HYPERLINK(\"http://evil\";\"a\")",
    "@SUM(1+9)*cmd|'/C calc'!A0",
    "-2+3",
    "[red]bold[/red][link=http://evil]x[/link]",
    "esc \x1b[2J\x1b]0;title\x07 \x9b31m bell\x07",
    "two\nlines\nand\ttabs",
    "right\u202eto\u2066left\u200f",
    "$\\frac{1}{0}$ $x_{$ %s {0} \\n",
    "| a | b |\n|---|---|\n# head ![x](http://evil/a.png) `code`",
    "---\nlicense: evil\n...",
    "x" * 300,
    "猫 می‌روم é ü",
)  # fmt: skip
FILES = (
    "<img src=x onerror=alert(1)>.png",
    "=1+1.png",
    "esc\x1b[2J\x9b31m.png",
    "new\nline\t.png",
    "right\u202egnp.png",
    "[red]$x_{$[bold].png",
    os.fsdecode(b"not-utf8-\xe9.png"),
    "y" * 250 + ".png",
    "猫.png",
)


def dangerous(text):
    """What in a text moves a cursor, changes colours or turns the line round."""
    text = text.replace("\n", "")
    bidirectional = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return [
        character
        for character in text
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(character) in bidirectional
        or character in "\u200e\u200f"
    ]


def paint(folder, seed):
    """Pictures of every class, in files of every name, and the table that lists them."""
    generator = np.random.default_rng(seed)
    rows = [("path", "label", "split")]
    for part in ("train", "test"):
        for label, name in enumerate(CLASSES):
            for number in range(4):
                place = folder / part / f"{label}-{number}"
                place.mkdir(parents=True)
                file = place / FILES[(label + 5 * number) % len(FILES)]
                grey = generator.integers(0, 100, (12, 12, 3)) + 10 * label
                Image.fromarray(grey.astype(np.uint8)).save(file)
                rows.append((os.path.relpath(file, folder), name, part))
    # A table is UTF-8: a file whose name is not stands in the folder alone.
    rows = [row for row in rows if row[0].encode(errors="ignore").decode() == row[0]]
    with (folder / "table.csv").open("w", encoding="utf-8", newline="") as table:
        csv.writer(table).writerows(rows)
    return folder / "table.csv"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run with every reporter, and what it printed."""
    from _pytest.capture import MultiCapture, SysCapture

    folder = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKIT_CACHE", str(folder / "cache"))
        capture = MultiCapture(in_=None, out=SysCapture(1), err=SysCapture(2))
        capture.start_capturing()
        try:
            result = Trainer(
                TinyBackbone(),
                "linear",
                {"name": "csv", "path": str(paint(folder / "data", 0))},
                FreezeAndTrain(2),
                ["rich", "plots", "files", "html", "tensorboard"],
                runs=folder / "runs",
                save=["keras", "h5"],
                validation=0.4,
            ).run()
        finally:
            output = capture.readouterr()
            capture.stop_capturing()
    return result, output.out + output.err


def test_the_names_are_those_of_the_data(run):
    result, _ = run
    assert set(result.info.class_names) == {name.strip() for name in CLASSES}
    assert load_run(result.folder).info.class_names == result.info.class_names
    assert not result.warnings


def test_the_terminal_shows_them_escaped(run):
    _, printed = run
    assert printed.count("\n") > 30
    assert dangerous(printed) == []
    assert "[red]bold" in printed
    assert "\\x1b[2J" in printed


def test_every_text_file_of_the_run_shows_them_escaped(run):
    result, _ = run
    files = [path for path in result.folder.rglob("*.txt")]
    assert files
    for path in files:
        assert dangerous(path.read_text(encoding="utf-8")) == [], path


def test_tables_run_no_formula_and_keep_their_columns(run):
    result, _ = run
    files = sorted(result.folder.glob("*.csv"))
    assert {"confusion_matrix.csv", "predictions.csv"} <= {path.name for path in files}
    for path in files:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, strict=True))
        assert {len(row) for row in rows} == {len(rows[0])}, path
        for row in rows:
            for cell in row:
                assert dangerous(cell.replace("\n", "\r")) == [], path
                number = re.fullmatch(r"-?[\d.]+(e-?\d+)?", cell) and path.name != "predictions.csv"
                assert number or not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")), path


def pages(folder):
    return sorted(folder.rglob("*.html"))


def check_page(path):
    text = path.read_text(encoding="utf-8")
    parser = html5lib.HTMLParser(namespaceHTMLElements=False)
    tree = parser.parse(text)
    assert parser.errors == []
    elements = [item for item in tree.iter() if isinstance(item.tag, str)]
    for item in elements:
        assert not [key for key in item.attrib if key.lower().startswith("on")]
        for key in ("href", "src"):
            value = item.get(key, "")
            assert not value.lower().startswith("javascript:")
            assert "evil" not in value or value.startswith(("#", "data:")), value
    scripts = [item for item in elements if item.tag == "script"]
    assert text.lower().count("</script") == len(scripts)
    assert not any("alert(" in (item.text or "") for item in scripts if item.get("type") is None)
    assert dangerous(text.replace("\t", "")) == []  # the library for charts has tabs
    return "".join(tree.itertext())


def test_the_report_escapes_them(run):
    result, _ = run
    found = pages(result.folder)
    assert [path.name for path in found] == ["report.html"]
    visible = check_page(found[0])
    assert "<img src=x onerror=alert(2)>" in visible
    assert "{{ 7*7 }}{% raw %}" in visible


def test_pictures_are_drawn_with_them(run):
    result, _ = run
    found = sorted(result.folder.rglob("*.png"))
    assert len(found) >= 3
    for path in found:
        with Image.open(path) as picture:
            picture.load()
            assert max(picture.size) < 10_000


def test_records_are_json_and_toml_that_hold_them_unchanged(run):
    result, _ = run
    record = json.loads((result.folder / "run.json").read_text(encoding="utf-8"))
    assert tuple(record["info"]["class_names"]) == result.info.class_names
    json.loads((result.folder / "metrics.json").read_text(encoding="utf-8"))
    tomllib.loads((result.folder / "config.toml").read_text(encoding="utf-8"))


def test_tensorboard_gets_one_line_for_each_image(run):
    result, _ = run
    for path in result.folder.rglob("*.tsv"):
        rows = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
        assert len({row.count("\t") for row in rows}) == 1, path
        assert dangerous("".join(rows).replace("\t", "")) == []


@pytest.fixture
def copy(run, tmp_path):
    """A copy of the run in a folder whose name is hostile too."""
    folder = tmp_path / "runs" / "[red]<img src=x onerror=alert(5)>\x1b[2J\u202e $x_{$\n`run`"
    shutil.copytree(run[0].folder, folder)
    return folder


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in FILES:
        Image.new("RGB", (9, 9), "red").save(folder / name)
    (folder / "broken\x1b[2J\u202e<b>.png").write_text("<svg onload=alert(1)>")
    return folder


def test_predict_shows_them_escaped(copy, pictures, tlkit_command):
    code, out, err = tlkit_command("predict", copy, pictures, "--top", 15)
    assert code == 1
    assert len(out.splitlines()) == len(FILES)
    assert dangerous(out + err) == []
    assert "broken\\x1b[2J\\u202e<b>.png" in err


def test_predict_in_json_holds_them_unchanged_and_moves_no_cursor(copy, pictures, tlkit_command):
    code, out, _ = tlkit_command("predict", copy, pictures, "--top", 15, "--json")
    assert code == 1
    assert dangerous(out) == []
    answers = json.loads(out)["predictions"]
    assert set(answers[0]["classes"]) <= set(load_run(copy).info.class_names)
    assert len(answers) == len(FILES) + 1


def test_explain_shows_them_escaped(copy, pictures, tlkit_command):
    few = [pictures / name for name in (FILES[0], FILES[2], FILES[4], FILES[6])]
    code, out, err = tlkit_command("explain", copy, *few, "--wrong", 2, "--out", "explained")
    assert code == 0, err
    assert dangerous(out + err) == []
    written = list((pictures.parent / "explained").iterdir())
    assert len(written) == 6
    for path in written:
        assert re.fullmatch(r"[\w.-]+", path.name), path
        assert dangerous(path.name) == []
    code, out, err = tlkit_command("explain", copy, few[0], "--class", "\x1b[2J no such class")
    assert code == 2
    assert dangerous(out + err) == []


@pytest.mark.parametrize("form", ["model-card", "lab-report"])
def test_cards_show_them_escaped(copy, tlkit_command, form):
    code, out, err = tlkit_command("card", copy, "--kind", form)
    assert code == 0, err
    assert dangerous(out + err) == []
    (path,) = copy.glob("*.md")
    text = path.read_text(encoding="utf-8")
    assert dangerous(text) == [], path
    prose = re.sub(r"(?s)^(`{3,}).*?^\1", "", text, flags=re.MULTILINE)
    prose = re.sub(r"`+[^`\n]*`+", "", prose)
    assert not re.search(r"(?<!\\)<(script|img|svg|a )", prose)
    assert not re.search(r"(?<!\\)!\[x\]", prose)
    if form == "model-card":
        metadata = yaml.safe_load(text.split("---\n")[1])
        assert metadata.get("license") != "evil"


def test_the_index_and_a_comparison_show_them_escaped(copy, tlkit_command):
    shutil.copytree(copy, copy.parent / "other")
    code, out, err = tlkit_command("report", copy.parent)
    assert code == 0, err
    assert dangerous(out + err) == []
    for path in pages(copy.parent):
        check_page(path)
    code, out, err = tlkit_command("compare", copy, copy.parent / "other")
    assert code == 0, err
    assert dangerous(out + err) == []
