import io

import numpy as np
import pytest
from PIL import Image

from tlkit import DataError, PictureNote, picture_data

CLASSES = ("even", "odd")


def encode(number):
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), (number, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def load(parts, sources=None, **options):
    count = len(parts)
    return picture_data(
        sources or [encode(number) for number in range(count)],
        [f"picture {number}" for number in range(count)],
        [number % 2 for number in range(count)],
        parts,
        CLASSES,
        where="a list",
        **({"seed": 0} | options),
    )


def contents(split):
    return [int(image[0, 0, 0]) for image in split.images]


def test_each_picture_keeps_its_label_its_name_and_its_split():
    data = load(["train", "test", "validation", "train", "train", "test"])
    assert contents(data.train) == [0, 3, 4]
    assert data.train.labels.tolist() == [0, 1, 0]
    assert data.train.names == ("picture 0", "picture 3", "picture 4")
    assert contents(data.validation) == [2]
    assert contents(data.test) == [1, 5]
    assert data.class_names == CLASSES


def test_a_share_of_training_becomes_the_test_split_where_there_is_none():
    parts = ["train"] * 20 + ["validation"] * 4
    data = load(parts, test_fraction=0.3)
    assert np.bincount(data.test.labels).tolist() == [3, 3]
    assert contents(data.validation) == [20, 21, 22, 23]
    assert sorted(contents(data.train) + contents(data.test)) == list(range(20))
    assert load(parts, test_fraction=0.3, seed=1).test.names != data.test.names


def test_broken_pictures_leave_their_rows_out_of_labels_and_names():
    sources = [encode(number) for number in range(6)]
    sources[2], sources[5] = b"", b"text"
    gone = PictureNote("gone", ("broken",), ("it is gone",))
    parts = ["train"] * 4 + ["test"] * 2
    data = load(parts, sources, broken="skip", left_out=[gone], notes=["a note"])
    assert contents(data.train) == [0, 1, 3]
    assert data.train.labels.tolist() == [0, 1, 1]
    assert data.test.names == ("picture 4",)
    assert [note.name for note in data.pictures] == ["gone", "picture 2", "picture 5"]
    assert data.notes == ("a note",)
    with pytest.raises(DataError, match="2 of 6 pictures cannot be read"):
        load(parts, sources)


def test_lazy_sources_are_read_one_at_a_time():
    class Lazy:
        asked = 0

        def __len__(self):
            return 8

        def __getitem__(self, index):
            Lazy.asked += 1
            return encode(index)

    data = load(["train"] * 6 + ["test"] * 2, Lazy())
    before = Lazy.asked
    assert contents(data.test) == [6, 7]
    assert Lazy.asked == before + 2


@pytest.mark.parametrize(
    ("parts", "broken", "message"),
    [
        (["test"] * 4, (), "no picture of the train split"),
        (["train"] * 4 + ["test"], (4,), "no picture of the test split can be read"),
        (["train"] * 4, (1, 3), "the class 'odd' has no training picture that can be read"),
        (["train"] * 3, (), "Cannot split a list"),
    ],
)
def test_what_leaves_a_split_or_a_class_empty_is_named(parts, broken, message):
    sources = [b"" if number in broken else encode(number) for number in range(len(parts))]
    with pytest.raises(DataError, match=message):
        load(parts, sources, broken="skip")
