"""Solving a closed-form head: its one step, and the figures that stand for its epochs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.errors import DataError, PluginError
from tlkit.events import Events
from tlkit.head import ClosedFormHead
from tlkit.model import count_parameters
from tlkit.network_checks import check_classifier
from tlkit.plugin_calls import describe_plugin, plugin_call
from tlkit.records import LabelledFeatures, Phase, PhaseResult

if TYPE_CHECKING:
    import keras

# Images whose features go through the head in one call.
PREDICTION_BATCH = 1024
# Images that the training figures are computed on.
FIGURES_IMAGES = 10_000


def solve_head(
    head: ClosedFormHead,
    name: str,
    examples: Mapping[str, LabelledFeatures],
    class_weight: Any,
    num_images: int,
    frozen_parameters: int,
    events: Events,
    seed: int,
) -> tuple[keras.Model, PhaseResult]:
    """Solve a head and measure it.

    Args:
        head: The head.
        name: Name of the phase.
        examples: Features to learn from, ``"train"``, and to choose by, ``"validation"``.
        class_weight: Factors of the classes, float32 (classes,), or None.
        num_images: Number of training images, without their views.
        frozen_parameters: Number of parameters of the backbone.
        events: Tells the reporters.
        seed: Draws the images that the training figures are computed on.

    Returns:
        The network that the head made, and what the phase left behind.

    Raises:
        DataError: If the training images are of one class.
        PluginError: If the head fails, or is no model of finite logits.
    """
    if len(np.unique(examples["train"].labels)) < 2:
        raise DataError("All training images are of one class; two are needed at least.")
    phase = Phase(
        name=name,
        epochs=1,
        steps=0,
        num_images=num_images,
        trainable_parameters=0,
        frozen_parameters=frozen_parameters,
    )
    events.emit("on_phase_begin", phase)
    begin = time.monotonic()
    with plugin_call(head, "solve()"):
        network, chosen = head.solve(examples["train"], examples["validation"], class_weight)
    train = examples["train"]
    check_classifier(head, network, train.features.shape[1:], train.num_classes)
    metrics: dict[str, float] = {}
    for part, prefix in (("train", ""), ("validation", "val_")):
        loss, accuracy = _figures(network, _sample(examples[part], seed))
        metrics |= {f"{prefix}loss": loss, f"{prefix}accuracy": accuracy}
        if not np.isfinite(loss):
            raise PluginError(
                f"{describe_plugin(head)} solved to a head whose loss on the {part} images is "
                f"{loss}."
            )
    seconds = time.monotonic() - begin
    phase = replace(phase, trainable_parameters=sum(count_parameters(network)))
    events.emit("on_epoch_end", phase, 1, metrics, seconds)
    history = {key: [value] for key, value in metrics.items()}
    return network, PhaseResult(phase, history, seconds, chosen=_plain(chosen))


def _sample(examples: LabelledFeatures, seed: int) -> LabelledFeatures:
    """Return at most ``FIGURES_IMAGES`` of the examples: a vote over all images takes long."""
    if len(examples.labels) <= FIGURES_IMAGES:
        return examples
    rows = np.random.default_rng(seed).choice(len(examples.labels), FIGURES_IMAGES, replace=False)
    return replace(examples, features=examples.features[rows], labels=examples.labels[rows])


def _figures(head: Any, examples: LabelledFeatures) -> tuple[float, float]:
    """Return the mean cross-entropy in nats and the accuracy of a head."""
    import keras

    loss = right = 0.0
    for first in range(0, len(examples.labels), PREDICTION_BATCH):
        rows = slice(first, first + PREDICTION_BATCH)
        labels = examples.labels[rows]
        logits = head(examples.features[rows], training=False)
        losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        loss += float(keras.ops.sum(losses))
        right += float(np.sum(keras.ops.convert_to_numpy(logits).argmax(axis=1) == labels))
    return loss / len(examples.labels), right / len(examples.labels)


def _plain(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Turn numpy's numbers into Python's, which JSON can write."""
    return {
        key: value.item() if isinstance(value, np.generic) else value
        for key, value in chosen.items()
    }
