"""The arrays dataset: numpy arrays, given from Python or read from an .npz file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tlkit import DataError, DatasetSource, ImageData, Split, UnsafeFileError, check_zip

if TYPE_CHECKING:
    import numpy as np

KEYS = ("x_train", "y_train", "x_test", "y_test")


class Arrays(DatasetSource):
    """Numpy arrays given from Python."""

    name: ClassVar[str] = "arrays"

    def __init__(
        self,
        x_train: np.ndarray,
        y_train: np.ndarray,
        x_test: np.ndarray,
        y_test: np.ndarray,
        class_names: Sequence[str] | None = None,
    ) -> None:
        """Keep the arrays.

        Args:
            x_train: uint8 (N, height, width, 3), or grey as (N, height, width[, 1]); 0 to 255.
            y_train: Whole numbers (N,) or (N, 1), from 0.
            x_test: Like ``x_train``.
            y_test: Like ``y_train``.
            class_names: The class names in the order of the labels; by default the numbers.
        """
        self.arrays = dict(zip(KEYS, (x_train, y_train, x_test, y_test), strict=True))
        self.class_names = class_names

    def load(self, seed: int) -> ImageData:
        """Check the arrays and return them."""
        return from_arrays(self.arrays, self.class_names, "arrays")


def from_arrays(
    arrays: Mapping[str, Any], class_names: Sequence[str] | None, where: str
) -> ImageData:
    """Check arrays and make them a dataset.

    Args:
        arrays: ``x_train``, ``y_train``, ``x_test``, ``y_test``; see ``Arrays``.
        class_names: The class names, or None for the labels' numbers.
        where: Said in errors.

    Raises:
        DataError: If an array is missing or of the wrong kind.
    """
    import numpy as np

    missing = [key for key in KEYS if key not in arrays]
    if missing:
        raise DataError(f"{where} has no {', '.join(missing)}; needed: {', '.join(KEYS)}.")
    splits = {}
    for part in ("train", "test"):
        images = _images(np.asarray(arrays[f"x_{part}"]), f"{where}: x_{part}")
        labels = _labels(np.asarray(arrays[f"y_{part}"]), f"{where}: y_{part}")
        if len(images) != len(labels):
            raise DataError(
                f"{where}: x_{part} has {len(images)} images and y_{part} {len(labels)} labels."
            )
        splits[part] = Split(images, labels)
    if class_names is None:
        largest = max(int(split.labels.max(initial=0)) for split in splits.values())
        class_names = [str(number) for number in range(largest + 1)]
    return ImageData(splits["train"], splits["test"], tuple(str(name) for name in class_names))


def read_npz(path: Path, class_names: Sequence[str] | None) -> ImageData:
    """Read ``x_train``, ``y_train``, ``x_test``, ``y_test`` (and ``class_names``) from an .npz.

    Raises:
        DataError: If it cannot be read; pickled objects in it are refused.
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as stored:
            check_zip(stored.zip)
            arrays = {key: stored[key] for key in (*KEYS, "class_names") if key in stored}
    except UnsafeFileError as err:
        raise DataError(f"{path} is refused: {err}.") from err
    except Exception as err:  # whatever a damaged file makes the parsers raise
        raise DataError(f"Cannot read {path} as .npz: {err}") from err
    names = arrays.pop("class_names", None)
    if names is not None and (names.ndim != 1 or names.dtype.kind not in "UiuS"):
        raise DataError(
            f"{path}: class_names is {names.dtype} of shape {names.shape}; allowed: text of shape "
            f"(number of classes,)."
        )
    return from_arrays(arrays, class_names if names is None else names.tolist(), str(path))


def _images(images: np.ndarray, where: str) -> np.ndarray:
    import numpy as np

    if images.dtype != np.uint8:
        hint = ""
        if np.issubdtype(images.dtype, np.floating) and images.size and images.max() <= 1:
            hint = " They look like 0 to 1: pass (255 * x).round().astype('uint8')."
        raise DataError(
            f"{where} is {images.dtype}; allowed: uint8, values 0 to 255. The backbone brings "
            f"pixels into the range that it wants.{hint}"
        )
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise DataError(
            f"{where} has shape {images.shape}; allowed: (N, height, width, 3) or grey as "
            f"(N, height, width) or (N, height, width, 1)."
        )
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images


def _labels(labels: np.ndarray, where: str) -> np.ndarray:
    import numpy as np

    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{where} is {labels.dtype} of shape {labels.shape}; allowed: whole numbers of shape "
            f"(N,) or (N, 1), one class number for each image."
        )
    return labels.astype(np.int64)
