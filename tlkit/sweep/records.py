"""Records of a sweep: what was asked for, each trial, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tlkit.compare.records import Cell, PairedTest

State = Literal["finished", "pruned", "failed"]
# Each with whether more is better.
METRICS = {"val_accuracy": True, "val_loss": False}


@dataclass(frozen=True)
class Settings:
    """How a sweep searches.

    Attributes:
        metric: What is optimised: ``"val_accuracy"`` or ``"val_loss"``, of the epoch whose weights
            were kept.
        sampler: Name of the sampler; see ``tlkit.sweep.searching``.
        pruner: Name of the pruner.
        seed: Of the sampler; 0 to 2**32 - 1.
        trials: How many trials the study is to have, those of before and of others included.
    """

    metric: str = "val_accuracy"
    sampler: str = "tpe"
    pruner: str = "none"
    seed: int = 0
    trials: int = 50

    @property
    def larger_is_better(self) -> bool:
        """Whether more of the metric is better."""
        return METRICS[self.metric]


@dataclass(frozen=True)
class Trial:
    """One trial that is over.

    Attributes:
        number: Its number in the study, from 0.
        state: ``"finished"``; ``"pruned"`` before its last epoch; ``"failed"``.
        values: The keys that it set, with their values.
        value: The metric of the epoch whose weights were kept; of a pruned one, of its last epoch;
            None if it failed.
        metrics: ``loss``, ``accuracy``, ``val_loss``, ``val_accuracy`` of that epoch.
        epochs: How many epochs it trained.
        seconds: Wall-clock seconds: ``features``, ``training`` and ``total``.
        error: Why it failed; None if it did not.
        where: Host and process that it ran in.
    """

    number: int
    state: State
    values: Mapping[str, Any]
    value: float | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    epochs: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    where: str = ""


@dataclass(frozen=True)
class Importance:
    """How much of what the metric varies by goes with each key.

    Attributes:
        evaluator: How it was estimated.
        shares: By key, 0 to 1, the largest first; together 1.
        trials: How many finished trials it is of.
        left_out: Keys that not every trial had, of which it says nothing.
        reason: Why there is none; empty if there is one.
    """

    evaluator: str
    shares: Mapping[str, float]
    trials: int
    left_out: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Tested:
    """The config itself and the best trial, each run once and tested.

    Attributes:
        default: The run of the config as it was given.
        best: The run of the best trial's config; the same if that is the config itself.
        pair: McNemar's test of the two; None where they are the same, or one failed.
        sentence: What it found, in words.
    """

    default: Cell
    best: Cell
    pair: PairedTest | None = None
    sentence: str = ""


@dataclass(frozen=True)
class Sweep:
    """A sweep as it is now.

    Attributes:
        name: Name of the study.
        source: The recipe or file that it varies.
        overrides: What ``--set`` changed of it.
        storage: Where the study is kept, without any credentials.
        engine: ``"optuna"`` or ``"ray"``.
        settings: How it searches.
        space: The search space as JSON values.
        trials: The trials that are over, by number.
        at_work: Trials that other processes are at.
        best: The best finished trial; None if none finished.
        importance: Which keys matter; None before the end.
        tested: The figures on the test set; None before the end, or where it was not asked for.
        seconds: Wall-clock seconds of this process: ``trials`` and ``total``.
        notes: What the reader should know.
        folder: Where it is written.
        report: The HTML page; None if it was not written.
    """

    name: str
    source: str
    overrides: tuple[str, ...]
    storage: str
    engine: str
    settings: Settings
    space: Mapping[str, Any]
    trials: tuple[Trial, ...]
    at_work: int = 0
    best: Trial | None = None
    importance: Importance | None = None
    tested: Tested | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    folder: Path | None = None
    report: Path | None = None

    def count(self, state: State) -> int:
        """Return how many trials ended so."""
        return sum(trial.state == state for trial in self.trials)


def best_of(trials: tuple[Trial, ...], settings: Settings) -> Trial | None:
    """Return the finished trial with the best metric, the first of equal ones."""
    finished = [item for item in trials if item.state == "finished" and item.value is not None]
    sign = -1 if settings.larger_is_better else 1
    return min(finished, key=lambda item: (sign * (item.value or 0.0), item.number), default=None)
