import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.builtin.reporters.conftest import make_result
from tests.report.conftest import make_pictures
from tlkit import RunFolderError, thumbnails


def number_of(item):
    pixel = np.asarray(Image.open(io.BytesIO(item.content)).convert("RGB"))[0, 0]
    return 256 * int(pixel[0]) + int(pixel[1])


def test_small_pictures_come_back_as_they_were_each_at_its_index(tmp_path):
    result = make_result(count=500)
    names = [f"image-{index}.png" for index in range(500)]
    assert thumbnails.save(tmp_path, result.test, make_pictures(500), names) == ""
    found = thumbnails.load(tmp_path)
    assert len(found) > 100
    assert [number_of(item) for item in found] == [item.index for item in found]
    assert all(item.name == f"image-{item.index}.png" for item in found)
    assert {(item.height, item.width) for item in found} == {(12, 16)}
    again = (tmp_path / thumbnails.FILE).read_bytes()
    thumbnails.save(tmp_path, result.test, make_pictures(500), names)
    assert (tmp_path / thumbnails.FILE).read_bytes() == again


def test_the_galleries_come_first_and_every_cell_has_its_turn():
    test = make_result(count=3000).test
    chosen = thumbnails.choose(test)
    assert len(chosen) == len(set(chosen)) == thumbnails.MAX_IMAGES
    mistakes = test.confident_mistakes.tolist()
    assert chosen[: thumbnails.GALLERY] == mistakes[: thumbnails.GALLERY]
    assert set(test.least_certain[: thumbnails.GALLERY].tolist()) <= set(chosen)
    confidences = test.probabilities.max(axis=1)
    assert all(np.diff(confidences[mistakes]) <= 0)
    shown = np.zeros_like(test.confusion_matrix)
    for index in chosen:
        shown[test.labels[index], test.predictions[index]] += 1
    assert ((shown > 0) == (test.confusion_matrix > 0)).all()
    galleries = 2 * thumbnails.GALLERY
    assert shown.diagonal().max() <= thumbnails.MAX_RIGHT_OF_A_CLASS + galleries
    wrong = ~np.eye(10, dtype=bool)
    # Cells that are not shown whole differ by what the galleries took out of turn.
    partial = shown[wrong & (shown < test.confusion_matrix)]
    assert partial.size == 0 or partial.max() - partial.min() <= galleries


def test_large_pictures_become_small_and_the_file_stays_bounded(tmp_path):
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 255, (40, 300, 200, 3), dtype=np.uint8)

    class Lazy:
        def __len__(self):
            return 2000

        def __getitem__(self, index):
            return noise[index % 40]

    thumbnails.save(tmp_path, make_result(count=2000).test, Lazy())
    found = thumbnails.load(tmp_path)
    assert sum(len(item.content) for item in found) <= thumbnails.MAX_BYTES
    assert (tmp_path / thumbnails.FILE).stat().st_size < 1.2 * thumbnails.MAX_BYTES
    for item in found[:3]:
        assert Image.open(io.BytesIO(item.content)).size == (85, 128)
        assert (item.width, item.height) == (200, 300)


def test_a_picture_that_is_gone_is_left_out_and_said_once(tmp_path):
    class Gone:
        def __len__(self):
            return 60

        def __getitem__(self, index):
            if index % 2:
                raise OSError("no such file")
            return make_pictures(60)[index]

    problem = thumbnails.save(tmp_path, make_result(count=60).test, Gone())
    assert problem.startswith("30 test images are left out of reports")
    assert "no such file" in problem
    assert {item.index % 2 for item in thumbnails.load(tmp_path)} == {0}


def rewritten(folder, manifest):
    with zipfile.ZipFile(folder / thumbnails.FILE, "w") as archive:
        archive.writestr("index.json", json.dumps(manifest))


def test_what_is_missing_or_damaged_is_named(tmp_path):
    with pytest.raises(RunFolderError, match=r"no test_images\.zip"):
        thumbnails.load(tmp_path)
    (tmp_path / thumbnails.FILE).write_bytes(b"no zip")
    with pytest.raises(RunFolderError, match="damaged: BadZipFile"):
        thumbnails.load(tmp_path)
    rewritten(tmp_path, {"schema_version": 9})
    with pytest.raises(RunFolderError, match="schema_version is 9"):
        thumbnails.load(tmp_path)
    item = {"index": 1, "name": "", "height": 1, "width": 1}
    for file in ("000001.svg", "000001.png", "../../etc/passwd.png"):
        rewritten(tmp_path, {"schema_version": 1, "images": [{**item, "file": file}]})
        with pytest.raises(RunFolderError, match="damaged: KeyError"):
            thumbnails.load(tmp_path)
    with zipfile.ZipFile(tmp_path / thumbnails.FILE, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("index.json", "0" * (11 * thumbnails.MAX_BYTES))
    with pytest.raises(RunFolderError, match="larger than tlkit writes"):
        thumbnails.load(tmp_path)
