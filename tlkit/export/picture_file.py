"""Picture file: pixels of many pictures one after the other, to be read batch by batch.

A memory-mapped array would count as memory of the process that reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

_SIZES = "sizes.json"
_PIXELS = "pixels.bin"


def write_pictures(folder: Path, pictures: Iterable[Any]) -> None:
    """Write pictures into a folder.

    Args:
        folder: An empty folder.
        pictures: uint8 (height, width, 3) each, of one size or several.

    Raises:
        OSError: If they cannot be written.
    """
    sizes = []
    with (folder / _PIXELS).open("wb") as file:
        for picture in pictures:
            sizes.append(picture.shape[:2])
            file.write(np.ascontiguousarray(picture, dtype=np.uint8).tobytes())
    (folder / _SIZES).write_text(json.dumps(sizes), encoding="ascii")


def read_batches(folder: Path, most: int) -> Iterator[Any]:
    """Yield the pictures of a folder, in order, in batches of one size.

    Args:
        folder: Where ``write_pictures()`` wrote them.
        most: Most pictures in a batch, 1 or more.

    Yields:
        uint8 (N, height, width, 3).
    """
    sizes = [tuple(size) for size in json.loads((folder / _SIZES).read_text(encoding="ascii"))]
    with (folder / _PIXELS).open("rb") as file:
        first = 0
        while first < len(sizes):
            height, width = sizes[first]
            count = 1
            while count < most and sizes[first + count : first + count + 1] == [(height, width)]:
                count += 1
            pixels = file.read(count * height * width * 3)
            yield np.frombuffer(pixels, np.uint8).reshape(count, height, width, 3)
            first += count
