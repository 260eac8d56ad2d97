"""Few-shot: training on a few images of each class, drawn at random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tlkit.records import Int64Array
from tlkit.subsets import Subset


def take_few(
    subsets: Mapping[Any, Subset], k: int, seed: int, class_names: tuple[str, ...]
) -> tuple[dict[Any, Subset], list[str]]:
    """Keep at most k training and k validation images of each class; the test images stay.

    Few validation images too, since a large validation split would let settings be chosen by labels
    that somebody with k labels for each class does not have.

    Args:
        subsets: ``"train"``, ``"validation"`` and ``"test"``.
        k: Images of each class, 1 or more.
        seed: Seed of the draw; a larger k with the same seed keeps the images of a smaller one.
        class_names: The class names in the order of the labels.

    Returns:
        The subsets, and notes on what was kept.
    """
    kept = dict(subsets)
    on_test = subsets["validation"].split is subsets["test"].split
    parts = ["train"] if on_test else ["train", "validation"]
    for part in parts:
        subset = subsets[part]
        labels = subset.split.labels[subset.rows]
        kept[part] = replace(subset, rows=_draw(subset.rows, labels, k, seed))
    train = kept["train"]
    counts = np.bincount(train.split.labels[train.rows], minlength=len(class_names))
    notes = [
        f"few_shot = {k}: trained on {len(train.rows):,} of {len(subsets['train'].rows):,} images, "
        f"validated on {len(kept['validation'].rows):,}."
    ]
    short = [name for name, count in zip(class_names, counts, strict=True) if count < k]
    if short:
        shown = ", ".join(short[:5]) + (", ..." if len(short) > 5 else "")
        notes.append(f"{len(short)} classes have fewer than {k} training images: {shown}.")
    return kept, notes


def _draw(rows: Int64Array, labels: Int64Array, k: int, seed: int) -> Int64Array:
    order = np.random.default_rng([seed, 2]).permutation(len(rows))
    drawn = [order[labels[order] == label][:k] for label in np.unique(labels)]
    return np.sort(rows[np.concatenate(drawn)])
