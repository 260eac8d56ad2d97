"""``tlkit predict``: what the model says of pictures."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tlkit.documents.base import AbsolutePath, Document, Number, Part, Share


class PredictedPicture(Part):
    """What the model says of one picture."""

    path: AbsolutePath = Field(description="The file.")
    classes: list[str] = Field(
        description="The most probable classes, the most probable first; none where the model "
        "abstained."
    )
    confidences: list[Number] = Field(description="Their probabilities, 0 to 1.")
    error: str | None = Field(description="Why the file could not be read; null if it could.")
    abstained: bool | None = Field(
        description="Whether it was too unsure to give a class; null without --target-accuracy."
    )
    distance: Number = Field(
        description="How far it is from the training images: 1 is what 1 % of the validation "
        "images exceed; null without --flag-unfamiliar."
    )
    unfamiliar: bool | None = Field(
        description="Whether the distance is above 1; null without --flag-unfamiliar."
    )


class AbstentionFigures(Part):
    """The threshold below which no class is given, and what it gave."""

    target_accuracy: Share = Field(description="What was asked of given answers, 0 to 1.")
    threshold: Share = Field(description="Confidences below it are no answer.")
    guaranteed_accuracy: Share = Field(
        description="What the accuracy of given answers is at least, with a probability of 95 %, "
        "for images such as those of the validation."
    )
    validation_coverage: Share = Field(description="Share of validation images with an answer.")
    validation_accuracy: Share = Field(description="Of these answers.")
    test_coverage: Share = Field(description="Share of test images with an answer.")
    test_accuracy: Number = Field(description="Of these answers; null if there are none.")


class Predictions(Document):
    """``tlkit predict``: "failed" if a picture could not be read."""

    schema_: Literal["tlkit.predict/1"] = Field(default="tlkit.predict/1", alias="schema")
    run: AbsolutePath = Field(description="The run folder.")
    predictions: list[PredictedPicture] = Field(
        description="In the order of the pictures; none where they are in a file."
    )
    pictures: int = Field(description="How many pictures there were, unreadable ones included.")
    unreadable: int = Field(description="How many of them could not be read.")
    engine: str = Field(description="The engine that ran the model.")
    seconds: Number = Field(description="Wall-clock seconds, without loading the model.")
    file: AbsolutePath | None = Field(description="Where the answers are; null without --out.")
    abstained: int | None = Field(
        default=None, description="How many got no class; null without --target-accuracy."
    )
    abstention: AbstentionFigures | None = Field(
        default=None, description="null without --target-accuracy."
    )
    unfamiliar: int | None = Field(
        default=None,
        description="How many are far from the training images; null without --flag-unfamiliar.",
    )
