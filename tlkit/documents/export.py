"""``tlkit export``: files for other programs, and the check of them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tlkit.documents.base import AbsolutePath, Document, Number, Part


class ExportedFile(Part):
    """One file that was to be written, and what the test set says of it."""

    format: str = Field(description="As in --to.")
    precision: Literal["float32", "float16", "int8"] = Field(description="Of its weights.")
    place: AbsolutePath = Field(description="Where the file or folder is, or would have been.")
    file: AbsolutePath | None = Field(description="The same; null if it was not put there.")
    input_size: list[int] | None = Field(
        description="Height and width of all pictures; null for pictures of any size."
    )
    bytes: int = Field(description="Its size; 0 if it was not made.")
    runtime: str = Field(description="What runs it, with its version.")
    checked: bool = Field(
        description="Whether it was run on the test set; the figures below are null if not."
    )
    tolerance: Number = Field(
        description="The largest change of accuracy that was allowed, in percentage points."
    )
    accuracy: Number = Field(description="On the test set, 0 to 1.")
    accuracy_change: Number = Field(description="That minus the Keras model's.")
    largest_difference: Number = Field(
        description="Between a probability and the Keras model's, 0 to 1."
    )
    images_per_second_1: Number = Field(description="At batches of 1, the fastest call.")
    images_per_second_32: Number = Field(description="At batches of 32, the fastest call.")
    peak_memory_bytes: int | None = Field(
        description="The most resident memory of a process that only loads the file and "
        "classifies the test set; null where the system does not tell."
    )
    error: str | None = Field(description="Why there is no file; null if there is one.")
    warning: str | None = Field(description="What is wrong with it; null if nothing.")


class ExportDocument(Document):
    """``tlkit export``: "failed" if a file could not be written, or lost too much accuracy.

    ``RUN/export/export.json`` is one too, of all files that the run was exported to.
    """

    schema_: Literal["tlkit.export/1"] = Field(default="tlkit.export/1", alias="schema")
    run: AbsolutePath = Field(description="The run folder.")
    test_images: int
    run_accuracy: Number = Field(description="The run's own test accuracy, 0 to 1.")
    files: list[ExportedFile]
