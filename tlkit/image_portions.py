"""Image portions: some images of a split in a form that travels to another machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.augmentation import AugmentedImages
from tlkit.encoded_pictures import EncodedPictures
from tlkit.records import ImageSequence


def portion_of(images: ImageSequence, rows: range) -> Any:
    """Return some images that can be pickled alone.

    Arrays come as they are, encoded pictures by their paths or content, views by what they are
    views of, and the pictures of any other sequence decoded.

    Args:
        images: uint8 array (N, height, width, 3), or a lazy sequence of pictures.
        rows: Which ones; they follow each other.

    Returns:
        What ``Pipeline.run()`` takes, with ``len(rows)`` images.
    """
    if isinstance(images, AugmentedImages):
        return images.of_part(portion_of(images.images, rows), rows.start)
    if isinstance(images, np.ndarray):
        return np.ascontiguousarray(images[rows.start : rows.stop])
    if isinstance(images, EncodedPictures):
        part = images.part(rows)
        # A worker runs in another folder.
        part.sources = [
            source.absolute() if isinstance(source, Path) else source for source in part.sources
        ]
        return part
    return Decoded([images[row] for row in rows])


def with_content(portion: Any, who: str) -> Any:
    """Return a portion whose picture files are read, not decoded.

    Args:
        portion: From ``portion_of()``.
        who: Said of a file that cannot be read: who tried.

    Raises:
        PictureError: If a file cannot be read.
    """
    if isinstance(portion, AugmentedImages):
        return portion.of_part(with_content(portion.images, who), 0)
    return portion.loaded(who) if isinstance(portion, EncodedPictures) else portion


class Decoded(Sequence[Any]):
    """Pictures (height, width, 3), uint8, of any sizes."""

    def __init__(self, pictures: Sequence[Any]) -> None:
        """Keep them."""
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: Any) -> Any:
        return self._pictures[index]
