"""The digits dataset of scikit-learn, which needs no download."""

from __future__ import annotations

from typing import ClassVar

from tlkit import DatasetSource, ImageData, Split, split_rows


class Digits(DatasetSource):
    """Scikit-learn's 1,797 handwritten digits of 8 x 8 pixels; needs no download."""

    name: ClassVar[str] = "digits"

    def __init__(self, test_fraction: float = 0.2) -> None:
        """Choose the split.

        Args:
            test_fraction: Share of the pictures in the test split, above 0 and below 1.
        """
        self.test_fraction = test_fraction

    def load(self, seed: int) -> ImageData:
        """Turn the greys, 0 to 16, into RGB, 0 to 255, and split them evenly by class."""
        import numpy as np
        from sklearn.datasets import load_digits

        bunch = load_digits()
        grey = np.round(bunch.images * (255 / 16)).astype(np.uint8)
        images = np.repeat(grey[..., None], 3, axis=-1)
        labels = bunch.target.astype(np.int64)
        train, test = split_rows(labels, self.test_fraction, seed, "digits")
        return ImageData(
            Split(images[train], labels[train]),
            Split(images[test], labels[test]),
            tuple(str(number) for number in range(10)),
        )
