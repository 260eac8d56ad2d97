"""Fashion-MNIST, in the idx format that MNIST defined."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tlkit import (
    DataError,
    DatasetSource,
    ImageData,
    Split,
    fetched,
)
from tlkit.builtin.datasets.download import download, keras_datasets_folder

if TYPE_CHECKING:
    import numpy as np

BASE = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
IMAGES_MAGIC, LABELS_MAGIC = 0x803, 0x801


class FashionMNIST(DatasetSource):
    """Fashion-MNIST: 70,000 grey pictures of 28 x 28 pixels in 10 classes (Xiao et al., 2017)."""

    name: ClassVar[str] = "fashion_mnist"
    class_names: ClassVar[tuple[str, ...]] = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
        "Ankle boot",
    )  # fmt: skip

    def __init__(self, path: str | None = None) -> None:
        """Choose where to read.

        Args:
            path: A folder with the four published .gz files. By default Keras' cache, and a
                download into it.
        """
        self.path = path

    def load(self, seed: int) -> ImageData:
        """Read the four files; grey becomes RGB."""
        import numpy as np

        splits = []
        for part in ("train", "t10k"):
            pixels = _read_idx(self._find(f"{part}-images-idx3-ubyte.gz"), IMAGES_MAGIC)
            labels = _read_idx(self._find(f"{part}-labels-idx1-ubyte.gz"), LABELS_MAGIC)
            images = np.repeat(pixels[..., None], 3, axis=-1)
            splits.append(Split(images, labels.astype(np.int64)))
        return ImageData(splits[0], splits[1], self.class_names)

    def _find(self, file_name: str) -> Path:
        layout = "a folder with the four published idx .gz files"
        if self.path is not None:
            file = fetched(self.path) / file_name
            if not file.is_file():
                raise DataError(f"[dataset] path: there is no {file.resolve()}. Allowed: {layout}.")
            return file
        cached = keras_datasets_folder() / "fashion-mnist" / file_name
        if cached.is_file():
            return cached
        return download(BASE + file_name, None, self.name, layout)


def _read_idx(path: Path, magic: int) -> np.ndarray:
    """Read an idx file of bytes: big-endian magic and sizes, then the values."""
    import numpy as np

    try:
        with gzip.open(path) as file:
            length = 4 * (1 + magic % 256)
            start = file.read(length)
            header = np.frombuffer(start, ">u4") if len(start) == length else [0]
            if header[0] != magic:
                raise DataError(f"{path} is no idx file of the kind {magic:#x}.")
            shape = tuple(int(side) for side in header[1:])
            size = int(np.prod(shape, dtype=np.float64))
            if size > 10**9:
                raise DataError(f"{path} claims the shape {shape}, which is too large.")
            values = np.frombuffer(file.read(size + 1), np.uint8)
    except (OSError, EOFError, zlib.error) as err:
        raise DataError(f"Cannot read {path}: {err}") from err
    if len(values) != size:
        raise DataError(f"{path} is cut short or has extra bytes: {shape} are announced.")
    return values.reshape(shape)
