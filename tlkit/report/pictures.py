"""Pictures: which test images the page of a run holds, and what it knows of each."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from tlkit.records import RunResult
from tlkit.report.words import name_limit, text
from tlkit.thumbnails import GALLERY, Thumbnail

MAX_ENTRIES = 20_000
_TOP = 5


def class_data(result: RunResult) -> dict[str, Any]:
    """Return class names and confusion matrix as plain values.

    The matrix is a list of (true class, predicted class, images) of the cells that are not empty;
    of more than ``MAX_ENTRIES`` those with most images.
    """
    import numpy as np

    matrix = result.test.confusion_matrix
    rows, columns = np.nonzero(matrix)
    order = np.argsort(-matrix[rows, columns], kind="stable")[:MAX_ENTRIES]
    entries = np.stack([rows[order], columns[order], matrix[rows[order], columns[order]]], axis=1)
    names = result.info.class_names
    limit = name_limit(len(names))
    return {
        "classes": [text(name, limit) for name in names],
        "matrix": entries.ravel().tolist(),
        "trueTotals": matrix.sum(axis=1).tolist(),
        "predictedTotals": matrix.sum(axis=0).tolist(),
    }


def picture_data(result: RunResult, thumbnails: Sequence[Thumbnail]) -> dict[str, Any]:
    """Return pictures as data URLs with the answer to each, and the two galleries.

    Args:
        result: The run.
        thumbnails: Its pictures; those of other test images are left out.
    """
    test = result.test
    thumbnails = [item for item in thumbnails if 0 <= item.index < len(test.labels)]
    places = {item.index: place for place, item in enumerate(thumbnails)}

    def gallery(indices: Sequence[int]) -> list[int]:
        return [places[index] for index in indices[:GALLERY] if index in places]

    return {
        "images": [_picture(result, item) for item in thumbnails],
        "mistakes": gallery(test.confident_mistakes.tolist()),
        "uncertain": gallery(test.least_certain.tolist()),
    }


def _picture(result: RunResult, item: Thumbnail) -> dict[str, Any]:
    import numpy as np

    # A network that diverged gives NaN, which JSON cannot say.
    probabilities = np.nan_to_num(result.test.probabilities[item.index])
    label = int(result.test.labels[item.index])
    best = [int(place) for place in np.argsort(-probabilities, kind="stable")[:_TOP]]
    shown = best if label in best else [*best, label]
    return {
        "index": item.index,
        "true": label,
        "predicted": best[0],
        "top": [[place, round(float(probabilities[place]), 4)] for place in shown],
        "name": text(item.name),
        "width": item.width,
        "height": item.height,
        "source": f"data:{item.media_type};base64,{base64.b64encode(item.content).decode()}",
    }
