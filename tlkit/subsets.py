"""Subsets: which rows of which split a run trains, validates and tests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tlkit.records import Int64Array, Split

SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Subset:
    """Some rows of a split; the training and validation images often share one split."""

    split: Split
    rows: Int64Array
