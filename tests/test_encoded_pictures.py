import numpy as np
import pytest
from PIL import Image

from tlkit import DataError, EncodedPictures, PictureFiles

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def test_picture_files_are_lazy_and_their_fingerprint_sees_contents_and_order(tmp_path):
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(PIXELS + np.uint8(number)).save(paths[-1])
    files = PictureFiles(paths)
    assert len(files) == 3
    np.testing.assert_array_equal(files[1], PIXELS + 1)
    assert [int(image[0, 0, 0]) for image in files[1:]] == [1, 2]
    assert len(list(files)) == 3
    before = files.fingerprint()
    assert PictureFiles(paths[::-1]).fingerprint() != before
    Image.fromarray(PIXELS + np.uint8(9)).save(paths[0])
    assert files.fingerprint() != before
    paths[0].unlink()
    with pytest.raises(DataError, match=r"0\.png"):
        files.fingerprint()
    with pytest.raises(DataError, match=r"0\.png"):
        files.digests()


def test_encoded_pictures_are_those_of_the_files(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        Image.fromarray(PIXELS + np.uint8(number % 2)).save(path)
    files = PictureFiles(paths)
    encoded = EncodedPictures([path.read_bytes() for path in paths], ["a", "b", "c"], "Mend it.")
    assert encoded.fingerprint() == files.fingerprint()
    assert encoded.digests() == files.digests()
    assert encoded.digests()[0] == encoded.digests()[2] != encoded.digests()[1]
    np.testing.assert_array_equal(encoded[1:][0], files[1])
    broken = EncodedPictures([b"", b"text"], ["a", "b"], "Mend it.")
    with pytest.raises(DataError, match=r"picture a: it is empty\. Mend it\."):
        broken[0]
    with pytest.raises(DataError, match=r"picture b: it is no picture of a kind .*\. Mend it\."):
        broken[1:][0]
