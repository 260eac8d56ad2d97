"""What tlkit asks of a dataset."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np

from tlkit.dataset import DatasetSource, load_data
from tlkit.fingerprint import digest_images, digest_labels
from tlkit.records import ImageData, Split
from tlkit.run_data import check_data
from tlkit.testing.suite import CheckFailed, Subject, check, expect

SOME = 64
THREADS = 8


def _data(subject: Subject) -> ImageData:
    def load() -> ImageData:
        source = cast(DatasetSource, subject.make())
        data = load_data(source, 0)
        check_data(data, source, least_classes=2)
        return data

    return cast(ImageData, subject.once("data", load))


def _splits(data: ImageData) -> dict[str, Split]:
    found = {"train": data.train, "validation": data.validation, "test": data.test}
    return {name: split for name, split in found.items() if split is not None}


def _lazy(data: ImageData) -> dict[str, Split]:
    return {
        name: split
        for name, split in _splits(data).items()
        if not isinstance(split.images, np.ndarray)
    }


@check("dataset")
def loads_images_and_labels(subject: Subject) -> None:
    """load() gives ImageData: images, int64 labels below the number of class names, none empty."""
    _data(subject)


@check("dataset", needs=("loads-images-and-labels",))
def gives_pixels_as_bytes(subject: Subject) -> None:
    """Each image is a uint8 array (height, width, 3) of 0 to 255, and not already scaled."""
    for name, split in _splits(_data(subject)).items():
        brightest = 0
        for row in range(min(SOME, len(split))):
            image = np.asarray(split.images[row])
            expect(
                image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3,
                f"Image {row} of {name} is {image.dtype} of shape {image.shape}; allowed: uint8 "
                f"(height, width, 3).",
            )
            brightest = max(brightest, int(image.max()))
        expect(
            brightest > 1,
            f"The first images of {name} hold nothing above {brightest}, as if they were scaled "
            f"to 0 to 1. Give pixels from 0 to 255: each backbone scales them itself.",
        )


@check("dataset", needs=("loads-images-and-labels",))
def loads_the_same_again(subject: Subject) -> None:
    """The same seed gives the same images and labels in the same order, so that runs repeat."""
    first, again = _data(subject), load_data(cast(DatasetSource, subject.make()), 0)
    expect(
        digest_labels(first) == digest_labels(again),
        "Loaded again with the same seed, it has other labels or class names. Draw by "
        "numpy.random.default_rng(seed), and sort what a folder lists.",
    )
    for name, split in _splits(first).items():
        expect(
            digest_images(split.images) == digest_images(_splits(again)[name].images),
            f"Loaded again with the same seed, its {name} images are others. Draw by "
            f"numpy.random.default_rng(seed).",
        )


@check("dataset", needs=("gives-pixels-as-bytes",))
def is_read_from_several_threads(subject: Subject) -> None:
    """A lazy sequence gives each image whole however many threads ask for it at once."""
    for name, split in _lazy(_data(subject)).items():
        rows = list(range(min(SOME, len(split))))
        expected = [np.array(split.images[row]) for row in rows]
        with ThreadPoolExecutor(THREADS) as pool:
            asked = list(itertools.chain.from_iterable([rows] * THREADS))
            found = list(pool.map(lambda row, images=split.images: np.array(images[row]), asked))
        wrong = sorted(
            {
                row
                for row, image in zip(asked, found, strict=True)
                if not np.array_equal(image, expected[row])
            }
        )
        expect(
            not wrong,
            f"Read from {THREADS} threads at once, the {name} images {wrong[:5]} are others. Open "
            f"the file anew for each image, or guard it with a lock.",
        )


@check("dataset", needs=("gives-pixels-as-bytes",))
def counts_its_images(subject: Subject) -> None:
    """A lazy sequence raises IndexError behind its end, and its digests are one for each image."""
    for name, split in _lazy(_data(subject)).items():
        images: Any = split.images
        try:
            images[len(images)]
        except IndexError:
            pass
        except Exception as err:
            raise CheckFailed(
                f"{name} images[{len(images)}], behind the end, raise {type(err).__name__}: {err}; "
                f"allowed: IndexError, which ends a loop over them."
            ) from err
        else:
            raise CheckFailed(
                f"{name} images[{len(images)}], behind the end, give an image, so that a loop "
                f"over them does not end. Raise IndexError."
            )
        if hasattr(images, "digests"):
            count = len(images.digests())
            expect(
                count == len(images),
                f"digests() of the {name} images gives {count}; allowed: {len(images)}, one each.",
            )
