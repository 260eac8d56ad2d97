"""Augmentation with stored features: a fixed number of seeded random views of each image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from tlkit.errors import ConfigError
from tlkit.records import ImageSequence, UInt8Array

# Pillow's name for each interpolation of keras.layers.Resizing; the others become bilinear.
RESAMPLING = {"nearest": "NEAREST", "bicubic": "BICUBIC", "area": "BOX", "lanczos3": "LANCZOS"}


@dataclass(frozen=True)
class Augmentation:
    """How a view differs from its image.

    Attributes:
        flip: Whether half of the views are mirrored left to right.
        crop: The largest share of the area that a crop cuts off, 0 to below 1. The crop keeps the
            side ratio within 3:4 to 4:3 of the image's (Szegedy et al. 2015, section 6).
        colour: The largest change of brightness, contrast and saturation, 0 to below 1: each is
            multiplied by a factor between 1 - colour and 1 + colour.
        seed: Seed of all views; view 3 of image 7 depends on (seed, 3, 7) alone.
    """

    flip: bool = True
    crop: float = 0.3
    colour: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: If one is out of range.
        """
        for key in ("crop", "colour"):
            value = getattr(self, key)
            if not 0 <= value < 1:
                raise ConfigError(f"[features] {key} = {value} is not allowed: 0 to below 1.")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"[features] seed = {self.seed} is not allowed: 0 to 4294967295.")


class AugmentedImages(Sequence[UInt8Array]):
    """One view of every image, cropped straight to the backbone's size, made when asked for.

    Attributes:
        images: What the views are of.
    """

    def __init__(
        self,
        images: ImageSequence,
        augmentation: Augmentation,
        view: int,
        image_size: int,
        interpolation: str,
        first: int = 0,
    ) -> None:
        """Set what to draw.

        Args:
            images: uint8 array (N, height, width, 3), or a lazy sequence of pictures.
            augmentation: How the views differ.
            view: Number of the view, from 1.
            image_size: Side of a view, in pixels.
            interpolation: The backbone's.
            first: The number of the first image, where these are a part of more.
        """
        self.images, self._augmentation, self._view = images, augmentation, view
        self._size, self._interpolation, self._first = image_size, interpolation, first

    def __len__(self) -> int:
        return len(self.images)

    def of_part(self, images: ImageSequence, first: int) -> AugmentedImages:
        """Return the same views of some of the images.

        Args:
            images: The part.
            first: The number that its first image has here.
        """
        return AugmentedImages(
            images,
            self._augmentation,
            self._view,
            self._size,
            self._interpolation,
            self._first + first,
        )

    @overload
    def __getitem__(self, index: int) -> UInt8Array: ...
    @overload
    def __getitem__(self, index: slice) -> list[UInt8Array]: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        number = self._first + index
        generator = np.random.default_rng([self._augmentation.seed, self._view, number])
        return self._draw(self.images[index], generator)

    def __iter__(self) -> Iterator[UInt8Array]:
        return (self[row] for row in range(len(self)))

    def _draw(self, image: UInt8Array, generator: np.random.Generator) -> UInt8Array:
        from PIL import Image, ImageEnhance

        settings = self._augmentation
        height, width = image.shape[:2]
        resampling = Image.Resampling[RESAMPLING.get(self._interpolation, "BILINEAR")]
        box = _crop_box(width, height, settings.crop, generator)
        picture = Image.fromarray(np.asarray(image)).resize(
            (self._size, self._size), resampling, box=box
        )
        if settings.flip and generator.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if settings.colour:
            factors = generator.uniform(1 - settings.colour, 1 + settings.colour, 3)
            for enhance, factor in zip(
                (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color),
                factors,
                strict=True,
            ):
                picture = enhance(picture).enhance(float(factor))
        return np.asarray(picture)


def _crop_box(
    width: int, height: int, crop: float, generator: np.random.Generator
) -> tuple[float, float, float, float]:
    """Return left, upper, right, lower of a random crop, in fractions of pixels."""
    area = generator.uniform(1 - crop, 1)
    ratio = math.exp(generator.uniform(math.log(3 / 4), math.log(4 / 3))) if crop else 1.0
    # A share of the area close to 1 leaves no room for another side ratio.
    ratio = min(max(ratio, area), 1 / area)
    crop_width, crop_height = width * math.sqrt(area * ratio), height * math.sqrt(area / ratio)
    left = generator.uniform(0, max(width - crop_width, 0))
    upper = generator.uniform(0, max(height - crop_height, 0))
    return left, upper, min(left + crop_width, width), min(upper + crop_height, height)
