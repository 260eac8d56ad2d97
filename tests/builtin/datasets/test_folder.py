import numpy as np
import pytest
from PIL import Image

from tlkit import DataError
from tlkit.builtin.datasets.folder import Folder


def fill(folder, classes=("cat", "dog"), count=5):
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = np.full((6 + index, 7, 3), 40 * number, np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


def test_train_and_test_folders(tmp_path):
    fill(tmp_path / "train")
    fill(tmp_path / "test", count=2)
    fill(tmp_path / "val", count=1)
    data = Folder(str(tmp_path)).load(0)
    assert data.class_names == ("cat", "dog")
    assert (len(data.train), len(data.validation), len(data.test)) == (10, 2, 4)
    assert data.train.names[0] == "train/cat/0.png"
    assert data.train.images[1].shape == (7, 7, 3)
    assert data.train.labels.tolist() == [0] * 5 + [1] * 5


@pytest.mark.parametrize("nested", ["", "train"])
def test_one_folder_is_split_evenly_and_by_the_seed(tmp_path, nested):
    fill(tmp_path / nested if nested else tmp_path, count=10)
    data = Folder(str(tmp_path), test_fraction=0.3).load(3)
    assert np.bincount(data.test.labels).tolist() == [3, 3]
    assert not set(data.train.names) & set(data.test.names)
    assert data.test.names == Folder(str(tmp_path), test_fraction=0.3).load(3).test.names


def test_other_files_are_counted(tmp_path):
    fill(tmp_path, count=10)
    (tmp_path / "cat" / "notes.txt").write_text("")
    assert "1 file in" in Folder(str(tmp_path)).load(0).notes[0]


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (("cat",), (), "has 1 class folder; at least 2"),
        ((), (), "has 0 class folders"),
        (("cat", "dog"), ("cat", "dgo"), "Did you mean 'dog'"),
    ],
)
def test_wrong_classes_are_named(tmp_path, train, test, message):
    (tmp_path / "train").mkdir()
    fill(tmp_path / "train", train)
    if test:
        fill(tmp_path / "test", test)
    with pytest.raises(DataError, match=message):
        Folder(str(tmp_path)).load(0)


def test_a_class_that_test_lacks_is_noted(tmp_path):
    fill(tmp_path / "train")
    fill(tmp_path / "test", ("cat",))
    assert "no picture of: dog" in Folder(str(tmp_path)).load(0).notes[0]


def test_empty_and_missing_folders_are_named(tmp_path, monkeypatch):
    fill(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty has no picture\. Read are: .*jpg"):
        Folder(str(tmp_path)).load(0)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"{tmp_path / 'nothing'} is not there. Needed"):
        Folder("nothing").load(0)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.png is a file. Needed"):
        Folder("a.png").load(0)
    with pytest.raises(DataError, match="Backslashes in a path want single quotes"):
        Folder("C:\new\table").load(0)
    with pytest.raises(DataError, match="an empty path"):
        Folder("").load(0)


def test_too_few_pictures_to_split_are_named(tmp_path):
    fill(tmp_path, count=1)
    with pytest.raises(DataError, match="Cannot split"):
        Folder(str(tmp_path)).load(0)


def test_unusual_pictures_are_listed_over_all_splits(tmp_path):
    fill(tmp_path / "train")
    fill(tmp_path / "test", count=2)
    Image.new("L", (4, 4)).save(tmp_path / "train" / "cat" / "grey.png")
    Image.new("CMYK", (4, 4)).save(tmp_path / "test" / "dog" / "print.jpg")
    data = Folder(str(tmp_path)).load(0)
    assert [(note.name, note.kinds) for note in data.pictures] == [
        ("train/cat/grey.png", ("greyscale",)),
        ("test/dog/print.jpg", ("CMYK",)),
    ]


def test_broken_pictures_end_the_run_or_are_left_out_when_asked(tmp_path):
    fill(tmp_path, count=10)
    (tmp_path / "cat" / "empty.jpg").write_bytes(b"")
    (tmp_path / "dog" / "text.png").write_text("hello")
    with pytest.raises(DataError, match=r"(?s)2 of 22 pictures.*cat/empty\.jpg.*dog/text\.png"):
        Folder(str(tmp_path)).load(0)
    data = Folder(str(tmp_path), broken="skip").load(0)
    assert len(data.train) + len(data.test) == 20
    assert [note.name for note in data.pictures] == ["cat/empty.jpg", "dog/text.png"]


def test_a_picture_that_only_decoding_finds_broken_is_named_with_what_to_do(tmp_path):
    fill(tmp_path, count=10)
    pixels = np.random.default_rng(0).integers(0, 255, (50, 50, 3), np.uint8)
    path = tmp_path / "cat" / "0.png"
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    data = Folder(str(tmp_path)).load(0)
    split = data.train if "cat/0.png" in data.train.names else data.test
    with pytest.raises(DataError, match=r"cat/0\.png: .*broken = 'skip'"):
        split.images[split.names.index("cat/0.png")]
    assert [note.name for note in Folder(str(tmp_path), broken="skip").load(0).pictures] == [
        "cat/0.png"
    ]


def test_a_split_with_broken_pictures_only_is_named(tmp_path):
    fill(tmp_path / "train")
    for name in ("cat", "dog"):
        (tmp_path / "test" / name).mkdir(parents=True)
        (tmp_path / "test" / name / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match="no picture of the test split can be read"):
        Folder(str(tmp_path), broken="skip").load(0)


def test_links_that_lead_out_are_named_left_out_or_followed(tmp_path):
    root = fill(tmp_path / "data")
    for name in ("a.png", "b.png"):
        Image.new("RGB", (3, 3)).save(tmp_path / name)
        (root / "cat" / name).symlink_to(tmp_path / name)
    (root / "dog" / "inside.png").symlink_to(root / "cat" / "0.png")
    with pytest.raises(DataError) as caught:
        Folder(str(root)).load(0)
    for part in ("2 links lead out of", "  cat/a.png\n", "  cat/b.png\n", "follow_links = true",
                 "broken = 'skip'"):  # fmt: skip
        assert part in str(caught.value)
    data = Folder(str(root), broken="skip").load(0)
    assert len(data.train) + len(data.test) == 11
    assert [(note.name, note.kinds) for note in data.pictures] == [
        ("cat/a.png", ("broken",)),
        ("cat/b.png", ("broken",)),
    ]
    data = Folder(str(root), follow_links=True).load(0)
    assert len(data.train) + len(data.test) == 13


@pytest.mark.parametrize("link", ["cat", "train"])
def test_a_folder_of_pictures_elsewhere_is_read_when_asked(tmp_path, link):
    elsewhere = fill(tmp_path / "elsewhere")
    root = tmp_path / "data"
    root.mkdir()
    (root / "dog").symlink_to(elsewhere / "dog")
    (root / link).symlink_to(elsewhere if link == "train" else elsewhere / "cat")
    with pytest.raises(DataError, match=rf"(?s)links? leads? out of .*{link}.*follow_links = true"):
        Folder(str(root), broken="skip").load(0)
    data = Folder(str(root), follow_links=True).load(0)
    assert len(data.train) + len(data.test) == 10


def test_the_folder_itself_may_be_a_link(tmp_path):
    fill(tmp_path / "data")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert len(Folder(str(tmp_path / "link")).load(0).train) == 8


def test_links_and_broken_pictures_come_in_one_error(tmp_path):
    root = fill(tmp_path / "data")
    Image.new("RGB", (3, 3)).save(tmp_path / "a.png")
    (root / "cat" / "a.png").symlink_to(tmp_path / "a.png")
    (root / "dog" / "empty.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        Folder(str(root)).load(0)
    for part in ("1 link leads out of", "  cat/a.png\n", "dog/empty.png: it is empty"):
        assert part in str(caught.value)
    assert str(caught.value).count("broken = 'skip'") == 1
