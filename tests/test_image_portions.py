import pickle

import numpy as np
import pytest
from PIL import Image

from tests.s3_server import SECRET_KEY
from tests.tiny import make_images
from tlkit.augmentation import Augmentation, AugmentedImages
from tlkit.encoded_pictures import EncodedPictures, PictureFiles
from tlkit.errors import PictureError
from tlkit.image_portions import Decoded, portion_of, with_content
from tlkit.stored_path import open_place

IMAGES, _ = make_images(12, 0, size=20)


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(12)]
    for path, image in zip(paths, IMAGES, strict=True):
        Image.fromarray(image).save(path)
    return PictureFiles(paths)


def views(images):
    return AugmentedImages(images, Augmentation(), 2, 16, "bilinear")


@pytest.mark.parametrize("kind", ["array", "files", "bytes", "other", "views", "views of files"])
def test_a_portion_is_the_same_images_wherever_it_travels(kind, files):
    images = {
        "array": IMAGES,
        "files": files,
        "bytes": EncodedPictures([path.read_bytes() for path in files.paths]),
        "other": Decoded(list(IMAGES)),
        "views": views(IMAGES),
        "views of files": views(files),
    }[kind]
    portion = portion_of(images, range(5, 9))
    loaded = with_content(pickle.loads(pickle.dumps(portion)), "")
    if "files" in kind:
        for path in files.paths:
            path.unlink()
        images = IMAGES if kind == "files" else views(IMAGES)
    arrived = pickle.loads(pickle.dumps(loaded))
    assert len(arrived) == 4
    for number in range(4):
        np.testing.assert_array_equal(arrived[number], images[5 + number])


def test_pictures_in_an_object_store_travel_as_their_urls(files, s3):
    for path in files.paths:
        s3.put(f"pictures/{path.name}", path.read_bytes())
    stored = sorted(open_place(f"{s3.url}/pictures").files(), key=lambda path: int(path.name[:-4]))
    sent = pickle.dumps(portion_of(EncodedPictures(stored), range(5, 9)))
    assert SECRET_KEY.encode() not in sent
    portion = pickle.loads(pickle.dumps(with_content(pickle.loads(sent), "")))
    for number in range(4):
        np.testing.assert_array_equal(portion[number], IMAGES[5 + number])


def test_a_portion_of_files_is_small_until_they_are_read(files):
    few, all_ = (len(pickle.dumps(portion_of(files, range(count)))) for count in (1, 12))
    assert few < all_ < 12 * IMAGES[0].nbytes


def test_relative_paths_are_made_whole(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    relative = PictureFiles([path.relative_to(tmp_path) for path in files.paths])
    assert portion_of(relative, range(2)).sources == list(files.paths[:2])


def test_a_file_that_cannot_be_read_is_named_with_who_tried(files):
    portion = portion_of(files, range(3))
    files.paths[1].unlink()
    with pytest.raises(
        PictureError, match=r"1\.png: No such file or directory on node a"
    ) as caught:
        with_content(portion, " on node a")
    assert caught.value.reason == "No such file or directory on node a"
