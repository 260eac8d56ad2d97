"""Thumbnails: small pictures of some test images, kept in the run folder for reports."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.atomic import atomic_path
from tlkit.errors import RunFolderError
from tlkit.records import Evaluation, ImageSequence

if TYPE_CHECKING:
    from tlkit.records import Int64Array

FILE, MANIFEST = "test_images.zip", "index.json"
SCHEMA_VERSION = 1
MAX_SIDE, MAX_LOSSLESS_SIDE = 128, 64
MAX_BYTES, MAX_IMAGES = 1_300_000, 800
GALLERY = 24
MAX_RIGHT_OF_A_CLASS = 12
_BATCH = 64
_MEDIA_TYPES = {"webp": "image/webp", "png": "image/png"}


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of a test image.

    Attributes:
        index: The image's index among the test images, from 0.
        name: Its name; empty where images have none.
        height: Height of the image itself in pixels.
        width: Width of the image itself in pixels.
        media_type: ``"image/webp"`` or ``"image/png"``.
        content: The encoded picture.
    """

    index: int
    name: str
    height: int
    width: int
    media_type: str
    content: bytes


def choose(test: Evaluation) -> list[int]:
    """Return the test images to show, the most important first.

    First the most confident mistakes and the least certain images. Then every cell of the confusion
    matrix in turn gives one image, the cell with the most mistakes first, until all mistakes are
    taken; cells of right answers give up to ``MAX_RIGHT_OF_A_CLASS`` each. Which image a cell gives
    is drawn at random with a fixed seed, so that none is favoured.

    Returns:
        Up to ``MAX_IMAGES`` indices, each once.
    """
    chosen = dict.fromkeys(test.confident_mistakes[:GALLERY].tolist())
    chosen |= dict.fromkeys(test.least_certain[:GALLERY].tolist())
    for index in _in_turn(test.labels, test.predictions):
        if len(chosen) >= MAX_IMAGES:
            break
        chosen.setdefault(index)
    return list(chosen)


def _in_turn(labels: Int64Array, predictions: Int64Array) -> Iterator[int]:
    cells: dict[tuple[int, int], list[int]] = {}
    for index in np.random.default_rng(0).permutation(len(labels)):
        cell = int(labels[index]), int(predictions[index])
        cells.setdefault(cell, []).append(int(index))
    for (label, prediction), members in cells.items():
        if label == prediction:
            del members[MAX_RIGHT_OF_A_CLASS:]
    # Right answers come last of each turn: what went wrong is what is looked for.
    order = sorted(cells, key=lambda cell: (cell[0] == cell[1], -len(cells[cell]), cell))
    for turn in range(max(map(len, cells.values()), default=0)):
        for cell in order:
            if turn < len(cells[cell]):
                yield cells[cell][turn]


def save(folder: Path, test: Evaluation, images: ImageSequence, names: Sequence[str] = ()) -> str:
    """Write ``test_images.zip``: an ``index.json``, and small pictures of up to ``MAX_BYTES``.

    Images of up to ``MAX_LOSSLESS_SIDE`` pixels are kept as they are, larger ones become lossy
    pictures of up to ``MAX_SIDE``.

    Args:
        folder: The run folder.
        test: The test figures, which say what to keep.
        images: The test images.
        names: One name for each test image, or empty.

    Returns:
        What went wrong; empty if nothing did.

    Raises:
        OSError: If the file cannot be written.
    """
    chosen, size = choose(test), 0
    kept: list[Thumbnail] = []
    problems: list[str] = []
    # Decoding large pictures is most of the work, and Pillow lets threads do it at once.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for first in range(0, len(chosen), _BATCH):
            part = chosen[first : first + _BATCH]
            for item in pool.map(lambda index: _thumbnail(images, index, names), part):
                if isinstance(item, str):
                    problems.append(item)
                elif size + len(item.content) <= MAX_BYTES:
                    kept.append(item)
                    size += len(item.content)
            if size > 0.99 * MAX_BYTES:
                break
    _write(folder / FILE, kept, len(test.labels))
    if not problems:
        return ""
    return f"{len(problems)} test images are left out of reports, such as {problems[0]}"


def load(folder: Path) -> list[Thumbnail]:
    """Read the pictures back, the most important first.

    Raises:
        RunFolderError: If there are none, or the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        raise RunFolderError(f"The run folder has no {FILE}.")
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(item.file_size for item in archive.infolist()) > 10 * MAX_BYTES:
                raise ValueError("it is larger than tlkit writes it")
            manifest = json.loads(archive.read(MANIFEST))
            if manifest["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"schema_version is {manifest['schema_version']!r}")
            return [_read(archive, item) for item in manifest["images"]]
    except Exception as err:  # whatever a damaged file makes the parsers raise
        raise RunFolderError(f"{FILE} is damaged: {type(err).__name__}: {err}") from err


def _read(archive: zipfile.ZipFile, item: dict[str, Any]) -> Thumbnail:
    return Thumbnail(
        index=int(item["index"]),
        name=str(item["name"]),
        height=int(item["height"]),
        width=int(item["width"]),
        media_type=_MEDIA_TYPES[item["file"].rpartition(".")[2]],
        content=archive.read(item["file"]),
    )


def _thumbnail(images: ImageSequence, index: int, names: Sequence[str]) -> Thumbnail | str:
    from PIL import Image, features

    try:
        picture = Image.fromarray(np.asarray(images[index]))
    except Exception as err:  # a lazy sequence reads files, which may be gone by now
        return f"number {index}: {type(err).__name__}: {err}"
    width, height = picture.size
    # Distributions may build Pillow without WebP.
    form = "webp" if features.check("webp") else "png"
    settings: dict[str, Any] = {"lossless": True, "method": 0}
    if max(width, height) > MAX_LOSSLESS_SIDE:
        picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
        settings = {"quality": 80, "method": 4}
    buffer = io.BytesIO()
    picture.save(buffer, form, **(settings if form == "webp" else {}))
    name = str(names[index]) if len(names) == len(images) else ""
    return Thumbnail(index, name, height, width, _MEDIA_TYPES[form], buffer.getvalue())


def _write(path: Path, thumbnails: Sequence[Thumbnail], total: int) -> None:
    suffixes = {media_type: suffix for suffix, media_type in _MEDIA_TYPES.items()}
    files = [f"{item.index:06d}.{suffixes[item.media_type]}" for item in thumbnails]
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "test_images": total,
        "images": [
            {
                "index": item.index,
                "name": item.name,
                "file": file,
                "height": item.height,
                "width": item.width,
            }
            for item, file in zip(thumbnails, files, strict=True)
        ],
    }
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        # A ZipInfo of its own, as writestr() would note the time, and equal runs would differ.
        archive.writestr(zipfile.ZipInfo(MANIFEST), json.dumps(manifest, indent=1))
        for item, file in zip(thumbnails, files, strict=True):
            archive.writestr(zipfile.ZipInfo(file), item.content)
