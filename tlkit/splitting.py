"""Splitting labelled images into rows to train on and rows held out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tlkit.errors import DataError
from tlkit.wording import plural

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def split_rows(
    labels: NDArray[np.int64], test_fraction: float, seed: int, where: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return training and test rows, sorted, with the share of each class kept.

    Args:
        labels: The class numbers (N,).
        test_fraction: Share of the rows in the test split, above 0 and below 1.
        seed: Seed of the draw.
        where: Said in errors.

    Raises:
        DataError: If a class is too small, or the fraction is not allowed.
    """
    if not 0 < test_fraction < 1:
        raise DataError(
            f"[dataset] test_fraction = {test_fraction} is not allowed: above 0 and below 1."
        )
    try:
        return draw_rows(labels, test_fraction, seed, labels)
    except ValueError as err:
        raise DataError(
            f"Cannot split {where} into training and test images by [dataset] test_fraction = "
            f"{test_fraction:g}: {err}, or split the images yourself."
        ) from err


def draw_rows(
    labels: NDArray[np.int64], share: float, seed: int, stratify: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows that are left and those that are held out, each sorted.

    Args:
        labels: The class numbers (N,).
        share: Share of the rows that is held out.
        seed: Seed of the draw.
        stratify: The labels to keep the shares of each class; None for a draw without regard.

    Raises:
        ValueError: If they cannot be split so; the message says what to do.
    """
    import numpy as np
    from sklearn.model_selection import train_test_split

    classes = 1
    if stratify is not None and len(stratify):
        counts = np.bincount(stratify)
        classes, single = int((counts > 0).sum()), int((counts == 1).sum())
        if single:
            raise ValueError(
                f"{single} of {classes} classes have a single image; each needs 2. Add images"
            )
    held = math.ceil(share * len(labels))
    for count, purpose, cure in (
        (held, "held out", "larger"),
        (len(labels) - held, "left to train on", "smaller"),
    ):
        if count < classes:
            raise ValueError(
                f"of {plural(len(labels), 'image')} {count:,} would be {purpose}, fewer than the "
                f"{plural(classes, 'class')}. Take a {cure} share, add images"
            )
    kept, held_out = train_test_split(
        np.arange(len(labels)), test_size=share, random_state=seed, stratify=stratify
    )
    return np.sort(kept), np.sort(held_out)
