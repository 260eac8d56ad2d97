"""``tlkit explain``: where the model looks, and maps of the features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tlkit.documents.base import AbsolutePath, Document, Number, Part


class ExplainedImage(Part):
    """One image's explanation."""

    image: str = Field(description="Its file, or its name or number in the test set.")
    method: Literal["grad-cam", "occlusion"]
    predicted: str = Field(description="The most probable class; empty if there is an error.")
    confidence: Number = Field(description="Its probability, 0 to 1.")
    explained: list[str] = Field(description="The classes whose evidence is shown.")
    true_class: str | None = Field(description="Null for a file.")
    path: AbsolutePath | None = Field(description="The PNG; null if there is an error.")
    error: str | None = Field(description="Why there is none; null if there is one.")


class WrittenMap(Part):
    """A map of the test features."""

    projection: str = Field(description='"pca", "t-sne" or "umap".')
    images: int = Field(description="How many test images it shows.")
    of: int = Field(description="How many there are.")
    mistakes: int = Field(description="How many of those shown are mistakes.")
    source: Literal["store", "model"] = Field(description="Stored features, or computed ones.")
    path: AbsolutePath = Field(description="The PNG.")


class Explanations(Document):
    """``tlkit explain``: "failed" if an image could not be explained."""

    schema_: Literal["tlkit.explain/1"] = Field(default="tlkit.explain/1", alias="schema")
    run: AbsolutePath = Field(description="The run folder.")
    explanations: list[ExplainedImage]
    maps: list[WrittenMap]

    @classmethod
    def of(cls, run: Path, written: Sequence[Any]) -> Explanations:
        """Return the document of what ``tlkit.explain.command.show()`` returned."""
        maps = [item for item in written if hasattr(item, "projection")]
        images = [item for item in written if not hasattr(item, "projection")]
        failed = any(item.error is not None for item in images)
        return cls(
            run=run,
            status="failed" if failed else "ok",
            explanations=[ExplainedImage.model_validate(item) for item in images],
            maps=[WrittenMap.model_validate(item) for item in maps],
        )
