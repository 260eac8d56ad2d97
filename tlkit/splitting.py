"""Splitting labelled images into training and test rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlkit.errors import DataError

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
    import numpy as np
    from sklearn.model_selection import train_test_split

    if not 0 < test_fraction < 1:
        raise DataError(
            f"[dataset] test_fraction = {test_fraction} is not allowed: above 0 and below 1."
        )
    try:
        train, test = train_test_split(
            np.arange(len(labels)), test_size=test_fraction, random_state=seed, stratify=labels
        )
    except ValueError as err:
        raise DataError(
            f"Cannot split {where} into training and test images: {err} Add images to the "
            f"smallest class, change test_fraction, or split the images yourself."
        ) from err
    return np.sort(train), np.sort(test)
