"""Files of TensorBoard's projector: features of test images, what they are, and thumbnails."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit import ImageSequence, RunResult, atomic_path, atomic_write_text, printable
from tlkit.builtin.reporters.pictures import read_picture

if TYPE_CHECKING:
    import numpy as np

CONFIG, TENSORS, METADATA, SPRITE = (
    "projector_config.pbtxt",
    "tensors.tsv",
    "metadata.tsv",
    "sprite.png",
)
# 10,000 thumbnails of this side fit into the largest texture that browsers take, 8,192 pixels.
THUMBNAIL = 48
_BATCH = 256


def write_projector(
    folder: Path,
    result: RunResult,
    features: Callable[[Any], np.ndarray],
    names: Sequence[str],
    count: int,
) -> None:
    """Write what the projector shows of some test images, drawn at random and the same each time.

    Images that cannot be read any more are left out; where none can be, nothing is written. With
    ``[run] test_images = false`` there are no thumbnails.

    Args:
        folder: The folder of the log; it exists.
        result: The finished run.
        features: Positions among the test images, int64 (n,), to features, float32 (n, ...).
        names: One name for each test image, or empty.
        count: Most images to show, 1 or more.
    """
    import numpy as np
    from google.protobuf import text_format
    from tensorboard.plugins.projector import ProjectorConfig

    total = len(result.test.labels)
    rows = np.arange(total)
    if total > count:
        rows = np.sort(np.random.default_rng(0).choice(total, count, replace=False))
    sheet = None
    if result.test_images is not None:
        # First, as features may have to be computed from the images.
        rows, sheet = _sprite(result.test_images, rows)
        if not len(rows):
            return
    if not result.info.keeps_test_images:
        sheet = None
    _write_tensors(folder / TENSORS, features, rows)
    atomic_write_text(folder / METADATA, _metadata(result, names, rows))
    config = ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name = "test features"
    embedding.tensor_path, embedding.metadata_path = TENSORS, METADATA
    if sheet is not None:
        with atomic_path(folder / SPRITE) as temporary:
            temporary.write_bytes(sheet)
        embedding.sprite.image_path = SPRITE
        embedding.sprite.single_image_dim.extend((THUMBNAIL, THUMBNAIL))
    # Last: without it the projector looks at none of the other files.
    atomic_write_text(folder / CONFIG, text_format.MessageToString(config))


def _write_tensors(path: Path, features: Callable[[Any], np.ndarray], rows: np.ndarray) -> None:
    import numpy as np

    with atomic_path(path) as temporary, temporary.open("w", encoding="ascii") as file:
        for first in range(0, len(rows), _BATCH):
            found = features(rows[first : first + _BATCH])
            if found.ndim > 2:  # feature maps: their mean over all places
                found = found.mean(axis=tuple(range(1, found.ndim - 1)))
            np.savetxt(file, found, fmt="%.5g", delimiter="\t")


def _metadata(result: RunResult, names: Sequence[str], rows: np.ndarray) -> str:
    test, classes = result.test, result.info.class_names
    labels, predictions = test.labels.tolist(), test.predictions.tolist()
    confidences = test.probabilities.max(axis=1).tolist()
    known = len(names) == len(labels)
    lines = ["class\tprediction\tright\tconfidence\tindex" + ("\tname" if known else "")]
    for row in rows.tolist():
        cells = [
            printable(classes[labels[row]]),
            printable(classes[predictions[row]]),
            "yes" if labels[row] == predictions[row] else "no",
            f"{confidences[row]:.4f}",
            f"{row}",
        ]
        lines.append("\t".join([*cells, *([printable(names[row])] if known else [])]))
    return "\n".join(lines) + "\n"


def _sprite(images: ImageSequence, rows: np.ndarray) -> tuple[np.ndarray, bytes]:
    """Return the rows that can be read, and a PNG of their thumbnails.

    They lie row by row in a square grid, as the projector cuts it.
    """
    import numpy as np
    from PIL import Image

    side = math.ceil(math.sqrt(len(rows)))
    sheet = Image.new("RGB", (side * THUMBNAIL, side * THUMBNAIL))
    shown: list[int] = []
    for row in rows.tolist():
        picture = read_picture(images, row)
        if picture is not None:
            across, down = len(shown) % side, len(shown) // side
            thumbnail = picture.resize((THUMBNAIL, THUMBNAIL))
            sheet.paste(thumbnail, (across * THUMBNAIL, down * THUMBNAIL))
            shown.append(row)
    buffer = io.BytesIO()
    sheet.save(buffer, format="png")
    return np.array(shown, np.int64), buffer.getvalue()
