"""Features of test images: from the feature store where they are, else computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tlkit import run_folder
from tlkit.backbone import Backbone
from tlkit.config.reading import read_config
from tlkit.errors import TlkitError
from tlkit.explain.parts import ModelParts
from tlkit.explain.test_set import take
from tlkit.features import FeatureStore
from tlkit.fingerprint import digest_model, fingerprint
from tlkit.head import Head
from tlkit.model import assemble
from tlkit.records import Float32Array, Int64Array, RunResult, Split
from tlkit.registry import Registry
from tlkit.resizing import make_resizer, stack_resized

if TYPE_CHECKING:
    import keras

_BATCH_SIZE = 32

Source = Literal["store", "model"]


def features_of(
    run: RunResult,
    model: keras.Model,
    parts: ModelParts,
    split: Split,
    rows: Int64Array,
    store: FeatureStore | None = None,
) -> tuple[Float32Array, Source]:
    """Return what the head receives of some test images.

    Args:
        run: The finished run.
        model: Its model.
        parts: The model's parts.
        split: Its test images.
        rows: Which of them.
        store: Where features are kept; by default the user's cache folder.

    Returns:
        float32 array (len(rows), channels), and where it comes from. Of a head that takes the
        backbone's maps these are their means over height and width.
    """
    stored = _stored(run, parts, store if store is not None else FeatureStore())
    if stored is not None and len(stored) == len(split):
        return _as_vectors(stored[rows]), "store"
    return _as_vectors(_computed(model, parts, split, rows)), "model"


def _stored(run: RunResult, parts: ModelParts, store: FeatureStore) -> Any:
    """Return the stored features of the whole test set, memory-mapped; None if there are none.

    Their key is made of the saved model's own backbone, so that those of a fine-tuned one are never
    mistaken for those of the pretrained one.
    """
    assert run.folder is not None
    try:
        config = read_config(str(run.folder / run_folder.CONFIG))
        registry = Registry()
        made: list[Any] = [
            registry.create(kind, table.name, run_folder.CONFIG, **(table.model_extra or {}))
            for kind, table in (("backbone", config.backbone), ("head", config.head))
        ]
        backbone: Backbone = made[0]
        head: Head = made[1]
        classes = len(run.info.class_names)
        assembled = assemble(backbone, head, classes, network=parts.backbone, classifier=parts.head)
        digest = digest_model(assembled, backbone, head)
    except TlkitError:  # plugins that are Python objects or not installed here
        return None
    key = fingerprint(
        digest, run.fingerprints["test"], dtype=config.features.dtype, precision="float32"
    )
    return store.find(key)


def _computed(model: keras.Model, parts: ModelParts, split: Split, rows: Int64Array) -> Any:
    import keras

    network = keras.Model(model.inputs, parts.features)
    resize = make_resizer(parts.resize)
    found = []
    for first in range(0, len(rows), _BATCH_SIZE):
        pictures = take(split, rows[first : first + _BATCH_SIZE])
        features = np.asarray(network.predict_on_batch(stack_resized(pictures, resize)))
        # A model that averages over views puts those of the images as they are first.
        found.append(features[: len(pictures)])
    return np.concatenate(found)


def _as_vectors(features: Any) -> Float32Array:
    values = np.asarray(features, dtype=np.float32)
    return values.mean(axis=tuple(range(1, values.ndim - 1))) if values.ndim > 2 else values
