import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tlkit import DataError
from tlkit.builtin.datasets.csv_table import CsvTable, sort_labels
from tlkit.options import validate_options


@pytest.fixture
def table(tmp_path):
    """Write a table of twenty pictures, ten of each class, and return its lines."""
    (tmp_path / "img").mkdir()
    lines = ["path,label"]
    for number in range(20):
        name = "cat" if number % 2 else "dog"
        pixels = np.full((6, 7, 3), 10 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "img" / f"{number}.png")
        lines.append(f"img/{number}.png,{name}")
    return lines


def write(folder, lines, encoding="utf-8"):
    (folder / "data.csv").write_text("\n".join(lines) + "\n", encoding=encoding)
    return str(folder / "data.csv")


def test_a_table_without_splits_is_split_evenly_and_by_the_seed(tmp_path, table):
    path = write(tmp_path, table)
    data = CsvTable(path, test_fraction=0.3).load(3)
    assert data.class_names == ("cat", "dog")
    assert np.bincount(data.test.labels).tolist() == [3, 3]
    assert len(data.train) == 14
    assert not set(data.train.names) & set(data.test.names)
    for part in (data.train, data.test):
        for name, image, label in zip(part.names, part.images, part.labels, strict=True):
            number = int(name.removeprefix("img/").removesuffix(".png"))
            assert image[0, 0].tolist() == [10 * number] * 3
            assert data.class_names[label] == ("cat" if number % 2 else "dog")
    assert CsvTable(path, test_fraction=0.3).load(3).test.names == data.test.names
    assert CsvTable(path, test_fraction=0.3).load(4).test.names != data.test.names


def test_a_split_column_decides(tmp_path, table):
    parts = ["split", *["Train"] * 12, *["val"] * 4, *["test"] * 4]
    path = write(tmp_path, [f"{line},{part}" for line, part in zip(table, parts, strict=True)])
    data = CsvTable(path).load(0)
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 4, 4)
    assert data.test.names == tuple(f"img/{number}.png" for number in range(16, 20))
    assert data.notes == ()


def test_a_split_column_without_test_rows_is_split_and_said(tmp_path, table):
    parts = ["fold", *["train"] * 16, *["valid"] * 4]
    path = write(tmp_path, [f"{line},{part}" for line, part in zip(table, parts, strict=True)])
    data = CsvTable(path, split_column="fold", test_fraction=0.25).load(0)
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 4, 4)
    assert "has no test row: 25%" in data.notes[0]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_delimiters_byte_order_marks_other_columns_and_another_root(
    tmp_path, table, delimiter, encoding
):
    rows = [line.split(",") for line in table[1:]]
    lines = [delimiter.join(("id", "klass", "file"))]
    lines += [
        delimiter.join((str(n), label, path.removeprefix("img/")))
        for n, (path, label) in enumerate(rows)
    ]
    (tmp_path / "lists").mkdir()
    path = write(tmp_path / "lists", lines, encoding)
    options = {"image_column": "file", "label_column": "klass", "root": str(tmp_path / "img")}
    data = CsvTable(path, **options).load(0)
    assert len(data.train) + len(data.test) == 20
    assert data.train.names[0].endswith(".png")


def test_paths_as_windows_writes_them_and_absolute_ones_within_the_root(tmp_path, table):
    lines = [table[0], *(line.replace("img/", "img\\") for line in table[1:11])]
    lines += [f"{tmp_path}/{line}" for line in table[11:]]
    data = CsvTable(write(tmp_path, lines)).load(0)
    assert len(data.train) + len(data.test) == 20
    assert data.train.images[0].shape == (6, 7, 3)


def test_quoted_cells_may_hold_separators_and_line_ends(tmp_path, table):
    Image.new("RGB", (4, 4)).save(tmp_path / "img" / "a, b.png")
    lines = [table[0], '"img/a, b.png","cat"', *table[1:], 'img/0.png,"two\nlines"', "img/x.png,"]
    with pytest.raises(DataError, match=r"(?s)1 rows have an empty 'label'.*line 25"):
        CsvTable(write(tmp_path, lines)).load(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: ["path,lable", *t[1:]], "no column 'label'. Did you mean 'lable'"),
        (lambda t: ["file,label", *t[1:]], r"no column 'path'\. Its columns: file, label"),
        (
            lambda t: ["image,kind", *t[1:]],
            r"no column 'path' or 'label'\. .*image, kind\. .*image_column, label_column",
        ),
        (lambda t: [*t, "img/1.png,", ",cat"], r"(?s)1 rows have an empty 'path'.*line 23"),
        (lambda t: [*t, "img/1.png"], "line 22 has 1 cells, and the first line names 2"),
        (lambda t: [t[0]], "lists no picture"),
        (lambda t: [t[0], *t[1::2]], "has 1 labels; at least 2"),
        (lambda t: ["path,label,label", *(f"{x},y" for x in t[1:])], "two columns 'label'"),
        (lambda t: [*t, '"img/1.png,cat'], "is no valid CSV"),
        (lambda t: [*t, "../secret.png,cat"], r"(?s)1 rows lead out of .*line 22: \.\./secret"),
        (lambda t: [*t, "/etc/hostname,cat"], "rows lead out of"),
        (lambda t: [*t, "img/link.png,cat"], "rows lead out of"),
        (lambda t: [*t, "img/\0.png,cat"], r"rows lead out of|no valid CSV"),
        (lambda t: [*t, "img/no.png,cat", f"{'x' * 300},dog"], r"(?s)2 rows lead to no file.*22"),
        (lambda t: [t[0], *(x + "\x1b[2J" for x in t[1:2]), *t[3:4]], "Cannot split"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, table, change, message):
    outside = tmp_path / "outside.png"
    root = tmp_path / "root"
    root.mkdir()
    Image.new("RGB", (4, 4)).save(outside)
    (tmp_path / "img").rename(root / "img")
    (root / "img" / "link.png").symlink_to(outside)
    with pytest.raises(DataError, match=message) as caught:
        CsvTable(write(root, change(table))).load(0)
    assert "\x1b" not in str(caught.value)


def test_a_split_that_is_not_known_is_named(tmp_path, table):
    lines = [f"{table[0]},split", *(f"{line},train" for line in table[1:]), "img/1.png,cat,tset"]
    with pytest.raises(DataError, match=r"(?s)no known split in 'split'.*line 22: tset.*Allowed"):
        CsvTable(write(tmp_path, lines)).load(0)
    with pytest.raises(DataError, match="use: \\[dataset\\] split_column"):
        CsvTable(write(tmp_path, table), split_column="part").load(0)


def test_many_wrong_rows_are_counted(tmp_path, table):
    lines = [*table, *(f"img/gone {number}.png,cat" for number in range(30))]
    with pytest.raises(DataError, match=r"(?s)30 rows lead to no file.*and 20 more"):
        CsvTable(write(tmp_path, lines)).load(0)


def test_missing_and_broken_pictures_are_skipped_when_asked_and_named(tmp_path, table):
    (tmp_path / "img" / "empty.jpg").write_bytes(b"")
    path = write(tmp_path, [*table, "img/gone.png,cat", "img/empty.jpg,dog"])
    with pytest.raises(DataError, match="broken = 'skip'"):
        CsvTable(path).load(0)
    data = CsvTable(path, broken="skip").load(0)
    assert len(data.train) + len(data.test) == 20
    assert [(note.name, note.kinds) for note in data.pictures] == [
        ("img/gone.png", ("broken",)),
        ("img/empty.jpg", ("broken",)),
    ]
    assert "line 22" in data.pictures[0].done[0]


def test_a_class_whose_pictures_are_all_broken_is_an_error(tmp_path, table):
    (tmp_path / "img" / "empty.jpg").write_bytes(b"")
    path = write(tmp_path, [*table, "img/empty.jpg,fox"])
    with pytest.raises(DataError, match="the class 'fox' has no training picture that can be read"):
        CsvTable(path, broken="skip").load(0)


def test_files_that_are_none_or_not_utf8(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*No such file"):
        CsvTable(str(tmp_path / "no.csv")).load(0)
    (tmp_path / "latin.csv").write_bytes(b"path,label\na.png,Stra\xdfe\n")
    with pytest.raises(DataError, match="not UTF-8 in line 2"):
        CsvTable(str(tmp_path / "latin.csv")).load(0)
    (tmp_path / "empty.csv").write_bytes(b"")
    with pytest.raises(DataError, match="no column 'path'"):
        CsvTable(str(tmp_path / "empty.csv")).load(0)
    (tmp_path / "some.csv").write_text("path,label\na.png,x\n")
    with pytest.raises(DataError, match="root: there is no folder"):
        CsvTable(str(tmp_path / "some.csv"), root=str(tmp_path / "no")).load(0)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"b", "a", "10"}, ("10", "a", "b")),
        ({"10", "9", "1"}, ("1", "9", "10")),
        ({"0.5", "-2", "1e1"}, ("-2", "0.5", "1e1")),
        ({"nan", "2", "10"}, ("10", "2", "nan")),
    ],
)
def test_labels_are_sorted_by_number_if_all_are_numbers(labels, expected):
    assert sort_labels(labels) == expected


@given(st.sets(st.text(max_size=4), max_size=6))
def test_any_labels_have_an_order(labels):
    assert sort_labels(labels) == sort_labels(set(sorted(labels, reverse=True)))
    assert set(sort_labels(labels)) == labels


@given(st.text(max_size=80))
def test_any_text_gives_data_or_one_error(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("any")
    path = folder / "data.csv"
    path.write_text(f"path,label\n{text}\n", encoding="utf-8", errors="replace")
    with pytest.raises(DataError):
        CsvTable(str(path)).load(0)


def test_the_options_of_a_config_are_checked():
    options = {"path": "a.csv", "broken": "skip", "root": "pictures"}
    assert validate_options(CsvTable, options, where="a file") == options


def test_links_are_followed_when_asked_and_dots_still_are_not(tmp_path, table):
    outside, root = tmp_path / "outside.png", tmp_path / "root"
    root.mkdir()
    Image.new("RGB", (4, 4)).save(outside)
    (tmp_path / "img").rename(root / "img")
    (root / "img" / "link.png").symlink_to(outside)
    (root / "all").symlink_to(tmp_path)
    lines = [*table, "img/link.png,cat", "all/outside.png,cat"]
    with pytest.raises(DataError, match=r"(?s)2 rows lead out of .*follow_links = true"):
        CsvTable(write(root, lines)).load(0)
    data = CsvTable(write(root, lines), follow_links=True).load(0)
    assert len(data.train) + len(data.test) == len(lines) - 1
    for path in ("../outside.png", str(outside)):
        with pytest.raises(DataError, match="1 rows lead out of"):
            CsvTable(write(root, [*table, f"{path},cat"]), follow_links=True).load(0)
