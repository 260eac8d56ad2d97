import numpy as np
import pytest
from PIL import Image

from tlkit import ConfigError, DataError, PictureNote, check_pictures, read_picture
from tlkit.picture_check import inspect_picture, summarize_pictures

PIXELS = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)


def picture(mode="RGB"):
    if mode == "I;16":
        return Image.fromarray(np.full((40, 60), 200 * 256, np.uint16))
    found = Image.fromarray(PIXELS).convert("L" if mode in ("I", "F") else "RGB").convert(mode)
    if mode in ("LA", "RGBA"):
        found.putalpha(100)
    return found


@pytest.mark.parametrize(
    ("mode", "suffix", "kinds"),
    [
        ("RGB", "png", ()),
        ("RGB", "jpg", ()),
        ("L", "png", ("greyscale",)),
        ("1", "png", ("greyscale",)),
        ("LA", "png", ("greyscale", "transparent")),
        ("RGBA", "png", ("transparent",)),
        ("RGBA", "webp", ("transparent",)),
        ("P", "png", ("palette",)),
        ("CMYK", "jpg", ("CMYK",)),
        ("CMYK", "tiff", ("CMYK",)),
        ("I;16", "png", ("16-bit", "greyscale")),
        ("F", "tiff", ("16-bit", "greyscale")),
    ],
)
def test_colour_modes(tmp_path, mode, suffix, kinds):
    path = tmp_path / f"a.{suffix}"
    picture(mode).save(path)
    note = inspect_picture(path, "a")
    assert (note.kinds if note else ()) == kinds
    assert inspect_picture(path.read_bytes(), "a") == note
    assert read_picture(path.read_bytes()).shape == (40, 60, 3)


def test_sixteen_bits_of_each_colour(tmp_path):
    import struct
    import zlib

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    rows = b"".join(b"\0" + b"\x80\x10" * 3 * 2 for _ in range(2))
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    assert inspect_picture(tmp_path / "a.png", "a").kinds == ("16-bit",)
    assert (read_picture(tmp_path / "a.png") == 128).all()


@pytest.mark.parametrize("suffix", ["gif", "webp", "tiff", "png"])
def test_animations_and_pages(tmp_path, suffix):
    frames = [Image.fromarray(PIXELS // number) for number in (1, 2, 3)]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    note = inspect_picture(tmp_path / f"a.{suffix}", "a")
    assert note.kinds[-1] == "animated"
    assert note.done[-1] == "first of 3 frames taken"


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_exif_orientation(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().save(tmp_path / f"a.{suffix}", exif=exif)
    note = inspect_picture(tmp_path / f"a.{suffix}", "a")
    assert note == PictureNote("a", ("rotated",), ("turned as EXIF orientation 6 says",))
    assert read_picture(tmp_path / f"a.{suffix}").shape == (60, 40, 3)


@pytest.fixture
def broken_files(tmp_path):
    """Two good pictures, and four that are broken in one way each."""
    for name in ("good.jpg", "grey.png"):
        picture("L" if name == "grey.png" else "RGB").save(tmp_path / name)
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("<html>404</html>")
    whole = (tmp_path / "good.jpg").read_bytes()
    (tmp_path / "short.jpg").write_bytes(whole[: len(whole) // 2])
    names = ["good.jpg", "empty.jpg", "grey.png", "text.jpg", "short.jpg", "missing.jpg"]
    return [tmp_path / name for name in names], names


def test_an_error_names_every_picture_whose_header_cannot_be_read(broken_files):
    with pytest.raises(DataError) as caught:
        check_pictures(*broken_files)
    text = str(caught.value)
    assert "3 of 6 pictures cannot be read" in text
    assert "empty.jpg: " in text
    assert "it is empty" in text
    assert "text.jpg: " in text
    assert "text.jpg: it is no picture of a kind that is read" in text
    assert "missing.jpg: " in text
    assert "[dataset] broken = 'skip'" in text
    assert "short.jpg" not in text, "only decoding finds it"


def test_skip_decodes_all_and_leaves_out_what_fails(broken_files):
    check = check_pictures(*broken_files, "skip")
    assert check.readable == (0, 2)
    assert [note.name for note in check.notes if note.kinds == ("broken",)] == [
        "empty.jpg",
        "text.jpg",
        "short.jpg",
        "missing.jpg",
    ]
    assert [note.kinds for note in check.notes if note.name == "grey.png"] == [("greyscale",)]
    reasons = {note.name: note.done[0] for note in check.notes}
    assert reasons["short.jpg"] == "it is cut short"
    assert "No such file" in reasons["missing.jpg"]


def test_a_decompression_bomb_is_found_by_its_header(tmp_path, monkeypatch):
    picture().save(tmp_path / "a.png")
    monkeypatch.setenv("TLKIT_MAX_PIXELS", "100")
    with pytest.raises(DataError, match="60 x 40 pixels; allowed are 100"):
        check_pictures([tmp_path / "a.png"], ["a.png"])


def test_an_impossible_limit_is_told_once_and_is_no_fault_of_a_picture(tmp_path, monkeypatch):
    picture().save(tmp_path / "a.png")
    monkeypatch.setenv("TLKIT_MAX_SIDE", "long")
    with pytest.raises(ConfigError, match="TLKIT_MAX_SIDE"):
        check_pictures([tmp_path / "a.png"], ["a.png"], "skip")


def test_many_broken_files_are_counted_not_all_named(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(25)]
    with pytest.raises(DataError, match="and 15 more"):
        check_pictures(paths, [path.name for path in paths])


def test_names_from_outside_move_no_cursor(tmp_path):
    with pytest.raises(DataError) as caught:
        check_pictures([tmp_path / "x"], ["\x1b[2J.png"])
    assert "\x1b" not in str(caught.value)


def test_an_unknown_choice_is_refused():
    with pytest.raises(ConfigError, match="'error' or 'skip'"):
        check_pictures([], [], "ignore")


def test_the_order_is_kept_over_many_files(tmp_path):
    paths = []
    for number in range(600):
        paths.append(tmp_path / f"{number}.png")
        Image.new("L" if number % 7 == 0 else "RGB", (2, 2)).save(paths[-1])
    check = check_pictures(paths, [path.name for path in paths])
    assert check.readable == tuple(range(600))
    assert [note.name for note in check.notes] == [f"{n}.png" for n in range(0, 600, 7)]


def test_the_summary_counts_each_kind():
    notes = [
        PictureNote("a", ("greyscale",), ("greyscale made RGB",)),
        PictureNote("b", ("greyscale", "transparent"), ("greyscale made RGB", "laid on white")),
        PictureNote("c", ("broken",), ("it is empty",)),
    ]
    broken, changed = summarize_pictures(notes)
    assert broken.startswith("Broken pictures left out: 1 (c)")
    assert "2 greyscale made RGB, 1 with transparency laid on white" in changed
    assert summarize_pictures([]) == []
