import io
import os
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from tlkit import (
    ConfigError,
    DataError,
    EncodedPictures,
    PictureFiles,
    images,
    read_picture,
)
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


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (
            "TLKIT_MAX_PIXELS",
            "23",
            r"a\.png: it is 6 x 4 pixels; allowed are 23 in all\. .*PIXELS",
        ),
        (
            "TLKIT_MAX_SIDE",
            "5",
            r"a\.png: it is 6 x 4 pixels; allowed are 5 a side\. .*SIDE",
        ),
    ],
)
def test_large_pictures_are_refused_before_decoding(
    tmp_path, monkeypatch, variable, value, message
):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr(images, "_to_rgb", None)
    with pytest.raises(DataError, match=message):
        read_picture(tmp_path / "a.png")


def png(width, height, depth=8, colour=2, content=b""):
    """A PNG that says it has these sides, with any content."""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(content, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def bmp(width, height):
    size = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 1000, 0, 0, 54) + size + bytes(900)


def gif(width, height):
    sides = struct.pack("<HH", width, height)
    frame = b"," + bytes(4) + sides + b"\0\2\1\0\0;"
    return b"GIF89a" + sides + b"\x80\0\0" + bytes(6) + frame


def jpeg(width, height):
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def tiff(width, height):
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "TIFF")
    data = bytearray(buffer.getvalue())
    for tag, value in ((256, width), (257, height)):
        start = data.index(struct.pack("<HHI", tag, 4, 1))
        data[start + 8 : start + 12] = struct.pack("<I", value)
    return bytes(data)


@pytest.mark.parametrize(
    ("make", "sides"),
    [
        (png, (50_000, 50_000)),
        (png, (100_000, 100_000, 1, 0)),
        (png, (100_000, 10)),
        (png, (10, 100_000, 1, 0)),
        (png, (2**31 - 1, 2**31 - 1, 16, 6)),
        (bmp, (60_000, 60_000)),
        (bmp, (100_000, 3)),
        (gif, (60_000, 60_000)),
        (jpeg, (65_500, 65_500)),
        (tiff, (100_000, 100_000)),
        (tiff, (3, 100_000)),
    ],
)
def test_headers_of_impossible_size_are_refused_before_memory_is_taken(make, sides, tmp_path):
    path, content = tmp_path / "a.png", make(*sides)
    path.write_bytes(content)
    for source in (path, content):
        with pytest.raises(DataError, match=r"allowed are .* The environment variable|cannot hold"):
            read_picture(source, "a.png")


@pytest.mark.parametrize(
    ("width", "height", "depth", "colour"),
    [(9_000, 9_000, 8, 2), (9_999, 9_999, 8, 0), (5_000, 5_000, 16, 6), (60_000, 1_600, 1, 0)],
)
def test_a_png_that_says_more_than_its_data_can_hold_is_refused(width, height, depth, colour):
    content = png(width, height, depth, colour)
    with without_warnings(), pytest.raises(DataError, match=r"a: it says that .* cannot hold them"):
        read_picture(content, "a")


@pytest.mark.parametrize(("depth", "colour"), [(1, 0), (8, 0), (8, 2), (16, 2), (8, 6), (16, 6)])
def test_a_png_of_one_colour_that_is_packed_as_small_as_can_be_is_read(depth, colour):
    channels = {0: 1, 2: 3, 6: 4}[colour]
    row = b"\0" + bytes((2_000 * channels * depth + 7) // 8)
    assert read_picture(png(2_000, 2_000, depth, colour, row * 2_000)).shape == (2_000, 2_000, 3)


def test_a_limit_above_that_of_pillow_holds(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    content = png(30, 30, content=(b"\0" + bytes(90)) * 30)
    with pytest.raises(DataError, match="it has 900 pixels; allowed are"):
        read_picture(content, "a")
    monkeypatch.setenv("TLKIT_MAX_PIXELS", "900")
    with without_warnings():
        assert read_picture(content, "a").shape == (30, 30, 3)


@pytest.mark.parametrize("value", ["0", "-1", "many", "1e6", "9" * 30, "٣"])
def test_an_impossible_limit_is_named(value, monkeypatch):
    monkeypatch.setenv("TLKIT_MAX_PIXELS", value)
    with pytest.raises(ConfigError, match="TLKIT_MAX_PIXELS = "):
        read_picture(png(1, 1), "a")


POSING = {
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "svg with a declaration": b'<?xml version="1.0"?><svg onload="alert(1)"/>',
    "html": b"<!doctype html><script>alert(1)</script>",
    "pdf": b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
    "psd": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 1, 1, 8, 3) + bytes(40),
    "ppm": b"P6\n1 1\n255\n\0\0\0",
    "xpm": b'/* XPM */\nstatic char *a[] = {"1 1 1 1", "a c #000000", "a"};',
    "fits": b"SIMPLE  =                    T" + b" " * 50,
    "zip": b"PK\3\4" + bytes(40),
    "elf": b"\x7fELF" + bytes(60),
}


@pytest.mark.parametrize("kind", POSING)
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tiff"])
def test_other_files_that_pose_as_pictures_are_refused(kind, name, tmp_path):
    (tmp_path / name).write_bytes(POSING[kind])
    with pytest.raises(DataError, match=rf"{name}: it is no picture of a kind that is read"):
        read_picture(tmp_path / name)


def test_a_photograph_with_a_second_picture_behind_it_is_read(tmp_path):
    path = tmp_path / "phone.jpg"
    first, second = (Image.new("RGB", (9, 6), colour) for colour in ("red", "blue"))
    first.save(path, "MPO", save_all=True, append_images=[second])
    assert Image.open(path).format == "MPO"
    assert read_picture(path)[0, 0].tolist() == [254, 0, 0]


def test_pillow_itself_would_read_some_of_them():
    assert Image.open(io.BytesIO(POSING["eps"])).format == "EPS"
    assert Image.open(io.BytesIO(POSING["ppm"])).format == "PPM"


def test_a_picture_with_markup_in_its_text_gives_its_pixels_alone(tmp_path):
    extra = PngImagePlugin.PngInfo()
    extra.add_text("Comment", "<script>alert(1)</script>")
    Image.fromarray(PIXELS).save(tmp_path / "a.png", pnginfo=extra)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), PIXELS)


def test_text_in_a_png_that_unpacks_without_end_is_refused(tmp_path):
    bomb = b"Comment\0\0" + zlib.compress(bytes(100 * 2**20), 9)
    chunk = struct.pack(">I", len(bomb)) + b"zTXt" + bomb
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + bomb))
    good = png(2, 2, content=(b"\0" + bytes(6)) * 2)
    with pytest.raises(DataError, match="Cannot read the picture a"):
        read_picture(good[:33] + chunk + good[33:], "a")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_or_a_device_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("/dev/zero")
    for name in ("a.png", "b.png"):
        with pytest.raises(DataError, match=rf"{name}: it is no ordinary file"):
            read_picture(tmp_path / name)


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


def test_an_error_has_its_reason_apart_from_the_name(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_text("text")
    for read, name in (
        (lambda: read_picture(tmp_path / "a.png"), str(tmp_path / "a.png")),
        (lambda: EncodedPictures([b"text"], ["a"], "Mend it.")[0], "a"),
    ):
        with pytest.raises(PictureError) as caught:
            read()
        assert (
            caught.value.reason
            == f"it is no picture of a kind that is read ({', '.join(images.FORMATS)})"
        )
        assert str(caught.value).startswith(f"Cannot read the picture {name}: it is no picture")
    with pytest.raises(PictureError, match=r"missing\.png: No such file or directory"):
        PictureFiles([tmp_path / "missing.png"]).fingerprint()
    Image.new("RGB", (20, 10)).save(tmp_path / "b.png")
    monkeypatch.setenv("TLKIT_MAX_PIXELS", "100")
    with pytest.raises(PictureError) as caught:
        read_picture((tmp_path / "b.png").read_bytes(), "b")
    assert str(caught.value).startswith(
        "Cannot read the picture b: it is 20 x 10 pixels; allowed are 100 in all"
    )


def test_a_picture_too_large_for_pillow_says_its_pixels():
    with pytest.raises(DataError, match=r"it has 2,500,000,000 pixels; allowed are"):
        read_picture(bmp(50_000, 50_000))


def test_a_picture_that_ends_early_is_cut_short():
    file = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(file, "JPEG")
    for keep in (300, 1000):
        with pytest.raises(DataError, match="it is cut short"):
            read_picture(file.getvalue()[:keep])
