"""Records: what was explained, and the files that show it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tlkit.records import Float32Array

Method = Literal["grad-cam", "occlusion"]


@dataclass(frozen=True)
class ClassHeat:
    """Where the evidence for one class lies in one image.

    Attributes:
        name: The class.
        probability: What the model gives it, 0 to 1.
        heat: float32 array (height, width), 0 to 1; see ``grad_cam()`` and ``occlusion()``.
    """

    name: str
    probability: float
    heat: Float32Array


@dataclass(frozen=True)
class Explanation:
    """One image's explanation, written as a PNG.

    Attributes:
        image: What the image is called: its file, or its name or number in the test set.
        method: ``"grad-cam"`` or ``"occlusion"``.
        predicted: The most probable class; empty if there is an error.
        confidence: Its probability, 0 to 1.
        explained: The classes whose evidence is shown.
        true_class: The class that it is labelled with; None for a file.
        path: The PNG; None if there is an error.
        error: Why there is none; None if there is one.
    """

    image: str
    method: Method
    predicted: str = ""
    confidence: float = 0.0
    explained: tuple[str, ...] = ()
    true_class: str | None = None
    path: Path | None = None
    error: str | None = None


@dataclass(frozen=True)
class FeatureMap:
    """One map of the test features, written as a PNG.

    Attributes:
        projection: ``"pca"``, ``"t-sne"`` or ``"umap"``.
        images: How many test images it shows.
        of: How many there are.
        mistakes: How many of those shown are mistakes.
        source: ``"store"`` if the features were stored, ``"model"`` if they were computed.
        path: The PNG.
    """

    projection: str
    images: int
    of: int
    mistakes: int
    source: Literal["store", "model"]
    path: Path
