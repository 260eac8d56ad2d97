"""``tlkit bench``: whole jobs against plain Keras."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tlkit.documents.base import AbsolutePath, Document, Number, Part


class Spread(Part):
    """Median, least and most of several measurements."""

    median: Number
    min: Number
    max: Number


class BenchSide(Part):
    """What one side of a case took."""

    seconds: Spread = Field(description="Of the job, without starting Python and importing.")
    wall_seconds: Spread = Field(description="Of the whole command.")
    process_start_seconds: Spread = Field(description="The rest of the wall time.")
    peak_memory_bytes: int = Field(description="The most resident memory of one process.")
    accuracy: list[float] = Field(description="Test accuracy of each model, 0 to 1.")
    rounds: int = Field(description="How often it was measured.")


class BenchVariant(Part):
    """One way of tlkit against plain Keras."""

    case: str
    variant: str
    plain: BenchSide
    tlkit: BenchSide
    ratio: Number = Field(description="Seconds of plain Keras / seconds of tlkit.")
    ratio_by_round: Spread | None
    wall_ratio: Number = Field(description="The same with the start of the process.")
    goal: Number = Field(description="null where there is none.")
    reached: bool | None = Field(description="Whether the ratio reaches the goal.")


class BenchCommand(Part):
    """A command that must answer at once."""

    command: str
    seconds: Spread = Field(description="Wall time.")
    limit: float = Field(description="The most seconds that it may take.")
    reached: bool = Field(description="Whether the median keeps the limit.")
    rounds: int = Field(description="How often it was measured.")


class LeftOut(Part):
    """A variant that could not be measured."""

    case: str
    variant: str
    reason: str


class Bench(Document):
    """``tlkit bench``: medians and ratios; all measurements are in ``bench.json``."""

    schema_: Literal["tlkit.bench/1"] = Field(default="tlkit.bench/1", alias="schema")
    folder: AbsolutePath = Field(description="Where the results are.")
    images: int | None = Field(description="Training images used; null for all.")
    variants: list[BenchVariant]
    start_up: list[BenchCommand]
    tensorflow_imported: bool | None = Field(
        description="Whether tlkit plugins imports TensorFlow; null if not looked at."
    )
    left_out: list[LeftOut]
    environment: dict[str, str] = Field(description="Versions and the machine.")
