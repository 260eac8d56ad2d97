"""What a session's model makes of the images of a subset: logits, and what its head receives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.extraction import guess_batch_size, resized_batches
from tlkit.head_solving import PREDICTION_BATCH
from tlkit.out_of_memory import in_halves
from tlkit.records import Float32Array, Int64Array
from tlkit.rows import take_rows
from tlkit.subsets import SplitName

if TYPE_CHECKING:
    import keras

    from tlkit.session import Session


def logits_of(session: Session, name: SplitName) -> Float32Array:
    """Return the logits of a subset, float32 (N, classes), as ``Session.logits()`` does."""
    subset = session.subsets[name]
    if session.fine_tuned:
        return _predict(session.model.logits, _resized(session, name, subset.rows))
    import keras

    starts = range(0, len(subset.rows), PREDICTION_BATCH)
    rows = [subset.rows[first : first + PREDICTION_BATCH] for first in starts]
    total: Any = np.float32(0)
    for fixed in session.test_time_augmentation.views:
        stored = session.features(name, fixed=fixed)
        parts = (take_rows(stored, part).astype(np.float32, copy=False) for part in rows)
        found = [session.model.head(chunk, training=False) for chunk in parts]
        total += np.concatenate([keras.ops.convert_to_numpy(part) for part in found])
    logits: Float32Array = total / np.float32(len(session.test_time_augmentation.views))
    return logits


def head_inputs_of(session: Session, name: SplitName, rows: Int64Array) -> Float32Array:
    """Return what the head receives for some images, as ``Session.features_of()`` does."""
    chosen = session.subsets[name].rows[rows]
    if not session.fine_tuned:
        stored: Float32Array = take_rows(session.features(name), chosen)
        return stored.astype(np.float32, copy=False)
    return _predict(session.model.features, _resized(session, name, chosen))


def _resized(session: Session, name: SplitName, rows: Int64Array) -> Iterator[Any]:
    """Yield the images of some rows of a subset's split in batches of resized pixels."""
    size = guess_batch_size(session.backbone.image_size)
    return resized_batches(session.subsets[name].split.images, rows, session.resizer, size)


def _predict(model: keras.Model, batches: Iterator[Any]) -> Float32Array:
    """Return what a model makes of resized pixels, float32 (N, ...)."""
    found = [in_halves(model.predict_on_batch, batch, lambda size: None) for batch in batches]
    return np.concatenate(found)
