"""Pictures and folders of pictures: pixels, or one TlkitError that names what is wrong."""

from __future__ import annotations

import io
import os
import shutil

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from tests.fuzz.mutations import CHANGES_OF_BYTES, change_bytes
from tlkit import DataError
from tlkit.builtin.datasets.csv_table import CsvTable
from tlkit.builtin.datasets.folder import Folder
from tlkit.images import read_picture, without_warnings
from tlkit.picture_check import inspect_picture
from tlkit.predictor import find_pictures

MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("L", "P", "RGB"),
    "BMP": ("1", "L", "P", "RGB"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"),
}


def make_pictures() -> list[bytes]:
    noise = np.random.default_rng(0).integers(0, 256, (9, 13, 4)).astype(np.uint8)
    whole = Image.fromarray(noise, "RGBA")
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    found = []
    for form, modes in MODES.items():
        for mode in modes:
            if mode == "I;16":
                picture = Image.fromarray(noise[..., 0].astype(np.uint16) * 200)
            else:
                via = whole if mode in ("RGBA", "LA") else whole.convert("RGB")
                picture = via.convert(mode)
            options = [{}]
            if form in ("PNG", "JPEG", "WEBP", "TIFF"):
                options.append({"exif": exif})
            if form in ("PNG", "GIF", "TIFF", "WEBP") and mode in ("RGB", "P", "RGBA"):
                options.append({"save_all": True, "append_images": [picture.rotate(90)] * 2})
            if form == "PNG" and mode in ("P", "L", "RGB"):
                options.append({"transparency": 3 if mode != "RGB" else (1, 2, 3)})
            if form == "JPEG":
                options.append({"progressive": True})
            if form == "WEBP":
                options.append({"lossless": True})
            if form == "TIFF" and mode in ("L", "RGB"):
                options += [{"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}]
                options += [{"compression": "packbits"}]
            for more in options:
                buffer = io.BytesIO()
                picture.save(buffer, form, **more)
                found.append(buffer.getvalue())
    return found


PICTURES = make_pictures()
CONTENT = st.one_of(
    st.builds(change_bytes, st.sampled_from(PICTURES), CHANGES_OF_BYTES),
    st.builds(
        lambda first, second, at: first[: at % len(first)] + second[at % len(second) :],
        st.sampled_from(PICTURES),
        st.sampled_from(PICTURES),
        st.integers(0, 5000),
    ),
    st.binary(max_size=40),
    st.sampled_from(
        (b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", b"%!PS-Adobe")
    ),
)


def test_what_is_made_is_a_picture():
    for content in PICTURES:
        assert read_picture(content).shape[2] == 3


def test_bytes_are_a_picture_or_an_error(fuzz):
    def read(content):
        with without_warnings():
            note = inspect_picture(content, "some", decode=True)
            try:
                pixels = read_picture(content)
            except DataError:
                assert note is not None
                assert note.kinds == ("broken",)
                raise
        assert note is None or "broken" not in note.kinds
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3
        assert pixels.size

    fuzz("pictures", CONTENT, read)


NAMES = st.one_of(
    st.builds(
        "{}{}".format,
        st.sampled_from(
            (
                "a",
                "b",
                ".hidden",
                " ",
                "é",
                "e\u0301",
                "\u202ea",
                "[bold]",
                "a\nb",
                "x" * 240,
                "\udcff",
            )
        ),
        st.sampled_from((".png", ".JPG", ".jpeg", ".webp", ".gif", ".bmp", ".tiff", ".txt", "")),
    ),
    st.text(max_size=8),
)
KINDS = ("picture",) * 6 + (
    "folder",
    "link out",
    "link to itself",
    "dangling",
    "pipe",
    "to the root",
)
TREES = st.lists(
    st.tuples(
        st.sampled_from(("train", "test", "val", "", "train", "odd\nname")),
        st.sampled_from(("cats", "dogs", "cats", "dogs", "", "\u202eevil", ".hidden")),
        NAMES,
        st.sampled_from(KINDS),
        CONTENT | st.sampled_from(PICTURES),
    ),
    max_size=8,
)
GOOD = [
    (part, label, f"{number}.png", "picture", PICTURES[0])
    for part in ("train", "test")
    for label in ("cats", "dogs")
    for number in range(2)
]


def plant(root, tree, outside):
    """Make a folder of files, links and worse."""
    for part, label, name, kind, content in tree:
        path = root / part / label / name.replace("/", "_").replace("\x00", "_")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(path):  # a pipe would wait for a reader
                continue
            if kind == "picture":
                path.write_bytes(content)
            elif kind == "folder":
                path.mkdir()
            elif kind == "link out":
                path.symlink_to(outside)
            elif kind == "link to itself":
                path.symlink_to(path)
            elif kind == "dangling":
                path.symlink_to(root / "nothing")
            elif kind == "to the root":
                path.symlink_to(root)
            else:
                os.mkfifo(path)
        except (OSError, ValueError):
            continue  # not a name that the file system has, or it is there already


def test_a_folder_is_a_data_set_or_an_error(fuzz, tmp_path):
    root, outside = tmp_path / "pictures", tmp_path / "outside.png"
    outside.write_bytes(PICTURES[0])

    def read(value):
        good, tree, broken, follow, fraction = value
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        plant(root, [*(GOOD if good else ()), *tree], outside)
        with without_warnings():
            find = Folder(str(root), fraction, broken, follow)
            data = find.load(0)
            for split in (data.train, data.test, data.validation):
                for pixels in split.images if split is not None else ():
                    assert pixels.shape[2] == 3
            assert follow or not any("outside" in name for name in data.train.names)
            for item in find_pictures([root]):
                try:
                    item.read()
                except DataError:
                    continue

    inputs = st.tuples(
        st.booleans(),
        TREES,
        st.sampled_from(("error", "skip", "skip")),
        st.booleans(),
        st.floats(0.01, 0.99),
    )
    fuzz("folder", inputs, read)


CELLS = st.one_of(
    st.sampled_from(("a.png", "b.png", "cats", "dogs", "train", "test", "../outside.png", "pipe")),
    st.sampled_from(
        ("", "/etc/passwd", "a" * 300, "\x00", '"', "\ufeff", "=1+1", "file://a.png", ".")
    ),
    st.text(max_size=6),
)
TABLES = st.one_of(
    st.builds(
        lambda head, rows, end: end.join(",".join(row) for row in [head, *rows]).encode(
            "utf-8", "surrogatepass"
        ),
        st.sampled_from(
            (("path", "label"), ("path", "label", "split"), ("path",), ("a", "b", "a"))
        ),
        st.lists(st.lists(CELLS, max_size=4), max_size=8),
        st.sampled_from(("\n", "\r\n", "\r")),
    ),
    st.builds(
        change_bytes,
        st.just(
            b"path,label,split\n"
            + b"".join(
                b"%s.png,%s,%s\n" % (name, label, part)
                for name, label in ((b"a", b"cats"), (b"b", b"dogs"))
                for part in (b"train", b"test")
            )
        ),
        CHANGES_OF_BYTES,
    ),
)


def test_a_table_is_a_data_set_or_an_error(fuzz, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for place in (folder / "a.png", folder / "b.png", tmp_path / "outside.png"):
        place.write_bytes(PICTURES[0])
    os.mkfifo(folder / "pipe")

    def read(value):
        content, broken = value
        (folder / "table.csv").write_bytes(content)
        with without_warnings():
            data = CsvTable(str(folder / "table.csv"), broken=broken).load(0)
            assert all(pixels.size for pixels in data.train.images)

    fuzz("table", st.tuples(TABLES, st.sampled_from(("error", "skip"))), read)
