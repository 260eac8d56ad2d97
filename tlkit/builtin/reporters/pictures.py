"""Reading a test image for a picture of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlkit import ImageSequence

if TYPE_CHECKING:
    from PIL import Image


def read_picture(images: ImageSequence, index: int) -> Image.Image | None:
    """Return an image, RGB; None where it cannot be read any more."""
    import numpy as np
    from PIL import Image

    try:
        return Image.fromarray(np.asarray(images[index]))
    except Exception:  # a lazy sequence reads files, which may be gone by now
        return None
