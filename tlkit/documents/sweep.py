"""``tlkit sweep``: the trials of a study, the best config and its test."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from tlkit.documents.base import AbsolutePath, Document, Number, Part
from tlkit.documents.compare import ComparedCell


class SweepTrial(Part):
    """One trial of a sweep that is over."""

    number: int = Field(description="Its number in the study, from 0; some may be missing.")
    state: Literal["finished", "pruned", "failed"]
    values: dict[str, JsonValue] = Field(description="What it set, by key of the config.")
    value: Number = Field(
        description="The metric at the kept epoch; of a pruned trial, its last; null if it failed."
    )
    metrics: dict[str, Number] = Field(
        description="loss, accuracy, val_loss and val_accuracy of that epoch."
    )
    epochs: int = Field(description="How many epochs it trained.")
    seconds: dict[str, Number] = Field(description="Wall-clock: features, training, total.")
    error: str | None = Field(description="Why it failed; null if it did not.")
    where: str = Field(description="Host and process that it ran in.")


class SweepImportance(Part):
    """How much of the metric's variance goes with each key of the space."""

    evaluator: str = Field(description="How it was estimated.")
    shares: dict[str, float] = Field(description="By key, the largest first; together 1.")
    trials: int = Field(description="How many finished trials it is of.")
    left_out: list[str] = Field(description="Keys that not every trial had.")
    reason: str = Field(description="Why there is none; empty if there is one.")


class SweepTest(Part):
    """The best config and the config itself, each run once and tested."""

    default: ComparedCell = Field(description="The run of the config as it was given.")
    best: ComparedCell = Field(description="The run of the best trial's config.")
    difference: Number = Field(description="Test accuracy of the best less that of the default.")
    interval: tuple[float, float] | None = Field(description="95 % interval of the difference.")
    p_value: Number = Field(description="McNemar's exact test, two-sided.")
    sentence: str = Field(description="What it found, in words.")


class SweepDocument(Document):
    """``tlkit sweep`` and ``sweep.json``: "failed" if there are trials and none finished."""

    schema_: Literal["tlkit.sweep/1"] = Field(default="tlkit.sweep/1", alias="schema")
    folder: AbsolutePath | None = Field(description="Where it is written.")
    study: str = Field(description="Name of the study in the storage.")
    source: str = Field(description="The recipe or file that it varies.")
    overrides: list[str] = Field(description="What --set changed of it.")
    storage: str = Field(description="Where the study is kept, without credentials.")
    engine: Literal["optuna", "ray"] = Field(description="What ran the trials.")
    metric: Literal["val_accuracy", "val_loss"]
    larger_is_better: bool
    sampler: str
    pruner: str
    seed: int = Field(description="Of the sampler.")
    wanted: int = Field(description="How many trials the study is to have.")
    space: dict[str, JsonValue] = Field(description="The range of each key.")
    trials: list[SweepTrial]
    at_work: int = Field(description="Trials that other processes are at.")
    best: int | None = Field(description="Number of the best trial; null if none finished.")
    best_config: AbsolutePath | None = Field(description="The best config as TOML.")
    importance: SweepImportance | None = Field(description="null before the end.")
    tested: SweepTest | None = Field(description="null before the end, or if it was not asked for.")
    seconds: dict[str, Number] = Field(description="Wall-clock of this process: trials, total.")
    notes: list[str] = Field(description="What the reader should know.")
    report: AbsolutePath | None = Field(description="The HTML page; null if it was not written.")
