import io
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tlkit import DataError, EncodedPictures, PictureFiles, images, list_pictures, read_picture
from tlkit.errors import PictureError
from tlkit.images import without_warnings
from tlkit.threads import map_in_threads

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff"])
def test_lossless_files_give_their_pixels(tmp_path, suffix):
    Image.fromarray(PIXELS).save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(read_picture(tmp_path / f"a.{suffix}"), PIXELS)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "1", "I;16", "I", "F"])
def test_every_colour_mode_becomes_rgb(tmp_path, mode):
    if mode == "I;16":
        picture = Image.fromarray(np.full((4, 6), 200 * 256, np.uint16))
    else:
        picture = Image.new("L", (6, 4), 200).convert(mode)
    path = tmp_path / ("a.tiff" if mode in ("CMYK", "F", "I", "I;16") else "a.png")
    picture.save(path)
    found = read_picture(path)
    assert found.shape == (4, 6, 3)
    assert found.dtype == np.uint8
    if mode not in ("1", "P"):
        assert np.abs(found.astype(int) - 200).max() <= 1


def test_transparency_is_laid_on_white(tmp_path):
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert (read_picture(tmp_path / "a.png") == 255).all()


def test_exif_orientation_is_applied(tmp_path):
    picture = Image.fromarray(PIXELS)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.png", exif=exif)
    assert read_picture(tmp_path / "a.png").shape == (6, 4, 3)


def test_the_first_frame_of_an_animation_is_taken(tmp_path):
    frames = [Image.new("RGB", (3, 3), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_picture(tmp_path / "a.gif")[0, 0].tolist() == [255, 0, 0]


def test_a_picture_that_is_none_is_named(tmp_path):
    (tmp_path / "a.png").write_text("<svg/>")
    for name in ("a.png", "missing.png", "."):
        with pytest.raises(DataError, match="Cannot read the picture"):
            read_picture(tmp_path / name)


def test_too_many_pixels_are_refused_before_decoding(tmp_path, monkeypatch):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 23)
    with pytest.raises(DataError, match="6 x 4 pixels; allowed are 23"):
        read_picture(tmp_path / "a.png")


def test_two_threads_that_overlap_leave_the_warning_filters_alone(tmp_path, monkeypatch):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    first_began, second_began, first_ended = (threading.Event() for _ in range(3))
    convert = images._to_rgb

    def slow(picture):
        if threading.current_thread().name == "first":
            first_began.set()
            second_began.wait(10)
        else:
            second_began.set()
            first_ended.wait(10)
        return convert(picture)

    monkeypatch.setattr(images, "_to_rgb", slow)
    before = list(warnings.filters)
    first, second = (
        threading.Thread(target=read_picture, args=(tmp_path / "a.png",), name=name)
        for name in ("first", "second")
    )
    first.start()
    assert first_began.wait(10)
    second.start()
    first.join(10)
    first_ended.set()
    second.join(10)
    assert warnings.filters == before


def test_many_pictures_in_threads_warn_of_nothing_and_leave_the_filters_alone(
    tmp_path, monkeypatch
):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # 24 of them: Pillow warns
    before = list(warnings.filters)
    with pytest.warns(Image.DecompressionBombWarning):
        read_picture(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with without_warnings():
            found = map_in_threads(lambda _: read_picture(tmp_path / "a.png"), 600)
    assert len(found) == 600
    assert warnings.filters == before


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 255)), max_size=6), st.integers(0))
def test_damaged_files_give_pixels_or_one_error(tmp_path_factory, changes, length):
    buffer = io.BytesIO()
    Image.fromarray(np.kron(PIXELS, np.ones((4, 4, 1), np.uint8))).save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    for position, value in changes:
        data[position % len(data)] = value
    path = tmp_path_factory.mktemp("damaged") / "a.jpg"
    path.write_bytes(data[: len(data) - length % 50])
    try:
        assert read_picture(path).ndim == 3
    except DataError as error:
        assert "a.jpg" in str(error)


def test_listing_is_sorted_and_leaves_out_what_is_hidden_or_outside(tmp_path):
    outside = tmp_path / "outside.png"
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    for path in (outside, folder / "b.JPG", folder / "a.png", folder / ".c.png", folder / "d.txt"):
        path.write_bytes(b"")
    (folder / "sub" / "e.webp").write_bytes(b"")
    (folder / "link.png").symlink_to(outside)
    assert [path.name for path in list_pictures(folder)] == ["a.png", "b.JPG"]
    names = [path.name for path in list_pictures(folder, recursive=True)]
    assert names == ["a.png", "b.JPG", "e.webp"]


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
    with pytest.raises(
        DataError, match=r"picture b: it has no format that Pillow reads\. Mend it\."
    ):
        broken[1:][0]


def test_an_error_has_its_reason_apart_from_the_name(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_text("text")
    for read, name in (
        (lambda: read_picture(tmp_path / "a.png"), str(tmp_path / "a.png")),
        (lambda: EncodedPictures([b"text"], ["a"], "Mend it.")[0], "a"),
    ):
        with pytest.raises(PictureError) as caught:
            read()
        assert caught.value.reason == "it has no format that Pillow reads"
        assert str(caught.value).startswith(f"Cannot read the picture {name}: it has no format")
        assert name not in caught.value.reason.split()
    with pytest.raises(PictureError, match=r"missing\.png: No such file or directory"):
        PictureFiles([tmp_path / "missing.png"]).fingerprint()
    Image.new("RGB", (20, 10)).save(tmp_path / "b.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    with pytest.raises(PictureError) as caught:
        read_picture((tmp_path / "b.png").read_bytes(), "b")
    assert str(caught.value) == (
        "Cannot read the picture b: it has 20 x 10 pixels; allowed are 100 in all"
    )
