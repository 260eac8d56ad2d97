"""The stored features of a session: where they come from, and what its head learns from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.feature_filling import Features
from tlkit.feature_source import FeatureSource
from tlkit.records import Float32Array, Int64Array
from tlkit.rows import Stacked, take_rows
from tlkit.subsets import SplitName
from tlkit.test_time_augmentation import PLAIN

if TYPE_CHECKING:
    import keras

    from tlkit.session import Session


def make_source(session: Session, model: keras.Model, digest: str, **changes: Any) -> FeatureSource:
    """Return what gives the features that a frozen model makes of a session's images.

    Args:
        session: Its plugins and settings are those of the source.
        model: From resized pixels (N, size, size, 3), 0 to 255, to features (N, ...).
        digest: The SHA-256 of everything in the model that features depend on.
        changes: Attributes of the source that differ from the session's.
    """
    settings: dict[str, Any] = {
        "backbone": session.backbone,
        "store": session.store,
        "engines": session.engines,
        "events": session.events,
        "resizer": session.resizer,
        "log": session.log,
        "augmentation": session.augmentation,
        "feature_type": session.feature_type,
        "cluster": session.cluster,
    }
    return FeatureSource(model, digest, **(settings | changes))


def training_features(session: Session, all_views: bool) -> Features | Stacked:
    """Return the features to train on, those of several views stacked.

    Args:
        session: The session.
        all_views: Whether the views of the test-time augmentation are among them.
    """
    views = _training_views(session, all_views)
    return Stacked(views) if len(views) > 1 else views[0]


def labelled_features(
    session: Session, name: SplitName, all_views: bool
) -> tuple[Float32Array, Int64Array]:
    """Return the features of a subset, float32 (N, ...), and its labels (N,), in memory.

    Args:
        session: The session.
        name: The subset; of the training images all views are given, one after another.
        all_views: Whether the views of the test-time augmentation are among them.
    """
    subset = session.subsets[name]
    views = _training_views(session, all_views) if name == "train" else [session.features(name)]
    parts = [take_rows(view, subset.rows) for view in views]
    features = np.concatenate(parts) if len(parts) > 1 else parts[0]
    labels = np.tile(subset.split.labels[subset.rows], len(parts))
    return features.astype(np.float32, copy=False), labels


def _training_views(session: Session, all_views: bool) -> list[Features]:
    return [
        session.features("train", view, fixed)
        for view in range(session.views + 1)
        for fixed in (session.test_time_augmentation.views if all_views else (PLAIN,))
    ]
