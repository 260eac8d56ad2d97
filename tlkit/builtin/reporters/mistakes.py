"""The surest wrong answers as one picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tlkit import RunResult
from tlkit.builtin.reporters.pictures import read_picture
from tlkit.drawing import as_written, new_figure, short_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 4
_CELL_INCHES = 2.1
_MAX_SIDE = 256


def draw_mistakes(result: RunResult, count: int) -> Figure | None:
    """Return test images that the model got wrong, the surest first, with their names.

    Images that cannot be read any more are passed over.

    Args:
        result: A result with its test images.
        count: Most images to show.

    Returns:
        A figure of four images a row; None without images, without mistakes, for a count of 0, or
        with ``[run] test_images = false``.
    """
    import numpy as np
    from PIL import Image

    test, images, names = result.test, result.test_images, result.info.class_names
    if images is None or not result.info.keeps_test_images:
        return None
    confidences = test.probabilities.max(axis=1)
    chosen: list[tuple[int, Image.Image]] = []
    for index in test.confident_mistakes.tolist():
        if len(chosen) == count:
            break
        picture = read_picture(images, index)
        if picture is not None:
            # A panel shows no more, and the figure holds all of them.
            picture.thumbnail((_MAX_SIDE, _MAX_SIDE), Image.Resampling.LANCZOS)
            chosen.append((index, picture))
    if not chosen:
        return None
    rows = math.ceil(len(chosen) / _COLUMNS)
    figure = new_figure(_COLUMNS * _CELL_INCHES, rows * (_CELL_INCHES + 0.45))
    cells = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes in cells:
        axes.set_axis_off()
    for axes, (index, picture) in zip(cells, chosen, strict=False):
        axes.imshow(np.asarray(picture), interpolation="nearest")
        truth, answer = names[test.labels[index]], names[test.predictions[index]]
        caption = f"{short_name(answer)} {100 * confidences[index]:.0f} %\nis {short_name(truth)}"
        as_written(axes.set_title(caption), 10)
    return figure
