"""Images as records: splits, what was found about pictures, what a data set loads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, overload, runtime_checkable

from tlkit.records.arrays import Float32Array, Int64Array, UInt8Array


@runtime_checkable
class ImageSequence(Protocol):
    """Images that need not all be in memory: a numpy array, or a lazy sequence of pictures.

    ``images[i]`` is a uint8 array of shape (height, width, 3), values 0 to 255, RGB. Images of a
    lazy sequence may differ in size; those of an array do not.
    """

    def __len__(self) -> int: ...

    @overload
    def __getitem__(self, index: int, /) -> UInt8Array: ...
    @overload
    def __getitem__(self, index: slice, /) -> Any: ...

    def __iter__(self) -> Iterator[UInt8Array]: ...


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    Attributes:
        images: uint8 array of shape (N, height, width, 3), or a lazy sequence of N pictures.
        labels: int64 array of shape (N,), values 0 to number of classes - 1.
        names: One name for each image, such as its file name; empty where they have none.
    """

    images: ImageSequence
    labels: Int64Array
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)


@dataclass(frozen=True)
class PictureNote:
    """A picture that is changed when it is read, or that was left out.

    Attributes:
        name: Its name, as in ``Split.names``.
        kinds: What it is: ``"greyscale"``, ``"transparent"``, ``"CMYK"``, ``"palette"``,
            ``"16-bit"``, ``"animated"``, ``"rotated"``, ``"other colours"``; ``"broken"`` alone for
            one that was left out.
        done: For each kind what was done; for a broken one the reason.
    """

    name: str
    kinds: tuple[str, ...]
    done: tuple[str, ...]


@dataclass(frozen=True)
class Duplicate:
    """A test or validation image that is also a training image, byte for byte.

    Or a validation image that is also a test image; ``equals`` says which.

    Attributes:
        split: ``"test"`` or ``"validation"``.
        index: The image's index in its split's images, from 0; where tlkit drew the validation
            images out of the training images, its index among these.
        name: Its name; empty where images have none.
        label: Its class number.
        train_index: The index of the first training image that equals it; of the first with
            another label where there is one.
        train_name: The name of that training image.
        train_label: The class number of that training image.
        copies: How many training images equal it, 1 or more.
        equals: ``"train"``; or ``"test"`` for a validation image that is also a test image: the
            four fields above are then those of test images.
    """

    split: str
    index: int
    name: str
    label: int
    train_index: int
    train_name: str
    train_label: int
    copies: int
    equals: str = "train"

    @property
    def label_conflict(self) -> bool:
        """Whether one image has two labels."""
        return self.label != self.train_label


@dataclass(frozen=True)
class ImageData:
    """What a dataset source loads.

    Attributes:
        train: The training images; a validation split is taken out of them by the Trainer.
        test: The test images, used once, at the end.
        class_names: The class names in the order of the labels.
        validation: Validation images, where the dataset comes with its own.
        notes: What the user should know, such as files that are no pictures.
        pictures: The pictures that are changed when they are read, and those that were left out;
            the Trainer sums them up in the run's notes.
    """

    train: Split
    test: Split
    class_names: tuple[str, ...]
    validation: Split | None = None
    notes: tuple[str, ...] = ()
    pictures: tuple[PictureNote, ...] = ()


@dataclass(frozen=True)
class LabelledFeatures:
    """Features of images, and the images' labels.

    Attributes:
        features: float32 array (N, *shape of one image's features).
        labels: int64 array of shape (N,), values 0 to ``num_classes`` - 1.
        num_classes: Number of classes; some may have no image here.
    """

    features: Float32Array
    labels: Int64Array
    num_classes: int
