import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from tests.explain.squares import Squares
from tlkit import DataError, ImageData, Split, load_run
from tlkit.explain.test_set import (
    image_name,
    load_test_images,
    sample,
    take,
)


def test_a_registered_dataset_is_found_by_the_config(digits_run):
    run = load_run(digits_run.folder)
    split = load_test_images(run)
    np.testing.assert_array_equal(split.images, digits_run.test_images)
    np.testing.assert_array_equal(split.labels, run.test.labels)


def test_a_dataset_that_is_a_python_object_must_be_given(squares_run):
    run = load_run(squares_run.folder)
    with pytest.raises(DataError, match="`dataset=`"):
        load_test_images(run)
    assert len(load_test_images(run, Squares())) == 40


class Changed(Squares):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def load(self, seed):
        data = super().load(seed)
        images, labels = data.test.images.copy(), data.test.labels.copy()
        self.change(images, labels)
        return ImageData(data.train, Split(images, labels), data.class_names)


def _one_pixel(images, labels):
    images[7, 0, 0, 0] ^= 1


def _one_label(images, labels):
    labels[7] = 1 - labels[7]


@pytest.mark.parametrize(
    ("change", "what"), [(_one_pixel, "test images"), (_one_label, "test labels")]
)
def test_changed_data_is_refused(squares_run, change, what):
    with pytest.raises(DataError, match=f"The {what} .* are not those") as caught:
        load_test_images(load_run(squares_run.folder), Changed(change))
    assert "tlkit run" in str(caught.value)


def test_data_that_is_gone_is_named(digits_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(digits_run.folder, folder)
    config = (folder / "config.toml").read_text()
    changed = config.replace('name = "digits"\ntest_fraction = 0.2', 'name = "folder"\npath = "/x"')
    assert changed != config
    (folder / "config.toml").write_text(changed)
    with pytest.raises(DataError, match=r"cannot be loaded(.|\n)*Put the data back"):
        load_test_images(load_run(folder))


def test_a_sample_is_the_same_each_time_and_at_most_all(digits_run):
    run = load_run(digits_run.folder)
    total = len(run.test.labels)
    found = sample(run, 20)
    np.testing.assert_array_equal(found, sample(run, 20))
    assert len(set(found.tolist())) == 20
    assert found.max() < total
    assert found.max() > 30
    np.testing.assert_array_equal(sample(run, 10 * total), np.arange(total))


def test_lazy_pictures_are_taken_one_by_one(digits_run):
    images = digits_run.test_images
    lazy = Split(list(images), digits_run.test.labels, tuple(f"{n}.png" for n in range(360)))
    taken = take(lazy, np.array([3, 1]))
    np.testing.assert_array_equal(np.stack(taken), images[[3, 1]])
    assert image_name(lazy, 3) == "3.png"
    assert image_name(replace(lazy, names=()), 3) == "test image 3"


def test_a_run_without_fingerprints_is_refused(digits_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(digits_run.folder, folder)
    record = json.loads((folder / "run.json").read_text())
    record["fingerprints"].pop("test")
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="fingerprint"):
        load_test_images(load_run(folder))
