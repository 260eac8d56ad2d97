"""What tlkit asks of a backbone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np

from tlkit.backbone import Backbone
from tlkit.errors import TlkitError
from tlkit.fingerprint import probe_preprocessing
from tlkit.freezing import batch_normalisation_state, blocks_of, freeze, unfreeze
from tlkit.model import AssembledModel, assemble
from tlkit.records import Float32Array
from tlkit.testing.parts import NUM_CLASSES, SmallHead, coloured_images
from tlkit.testing.saving import saved_and_loaded
from tlkit.testing.suite import CheckFailed, Subject, check, expect

IMAGES = 6
TOLERANCE = 1e-4
NO_WEIGHTS = "no-such-weights"


def _backbone(subject: Subject) -> Backbone:
    return cast(Backbone, subject.once("backbone", subject.make))


def _model(subject: Subject) -> AssembledModel:
    """Return the backbone with a small head; it is built once for all checks."""
    return cast(
        AssembledModel,
        subject.once("model", lambda: assemble(_backbone(subject), SmallHead(), NUM_CLASSES)),
    )


def _pixels(subject: Subject) -> Float32Array:
    images, _ = coloured_images(IMAGES, _backbone(subject).image_size, seed=0)
    return images.astype(np.float32)


def _features(subject: Subject, pixels: Any) -> Float32Array:
    """Return the feature maps of some pixels, as the frozen backbone makes them."""
    import keras

    found = _model(subject).features(pixels, training=False)
    return cast(Float32Array, np.array(keras.ops.convert_to_numpy(found)))


@check("backbone")
def builds_feature_maps(subject: Subject) -> None:
    """build() gives a keras.Model without a top: float32 maps (N, height, width, channels)."""
    _model(subject)


@check("backbone")
def leaves_pixels_alone(subject: Subject) -> None:
    """preprocess() gives a new array, finite, and does not change the one that it receives."""
    probe_preprocessing(_backbone(subject))


@check("backbone", needs=("builds-feature-maps",))
def gives_finite_features(subject: Subject) -> None:
    """The features of black, white and noisy pictures are finite, and fit the stored float32."""
    pixels = _pixels(subject)
    pixels[0], pixels[1] = 0, 255
    expect(
        np.isfinite(_features(subject, pixels)).all(),
        "Features of pixels from 0 to 255 are NaN or infinite. Are its weights loaded, and is its "
        "preprocess() for the range that they were trained on?",
    )


@check("backbone", needs=("gives-finite-features",))
def sees_the_image(subject: Subject) -> None:
    """Two different pictures have different features."""
    found = _features(subject, _pixels(subject))
    expect(
        np.ptp(found, axis=0).max() > 0,
        "All pictures have the same features. Does build() connect its input with its output, and "
        "does preprocess() keep the differences?",
    )


@check("backbone", needs=("gives-finite-features",))
def gives_each_image_its_own_features(subject: Subject) -> None:
    """An image has the same features each time, alone or in any batch: frozen means a function."""
    pixels = _pixels(subject)
    together = _features(subject, pixels)
    scale = max(float(np.abs(together).max()), 1e-30)
    for found, how in (
        (_features(subject, pixels), "a second time"),
        (np.concatenate([_features(subject, row[None]) for row in pixels]), "alone"),
    ):
        error = float(np.abs(found - together).max()) / scale
        expect(
            error <= TOLERANCE,
            f"Run {how}, images have other features: relative error {error:.2g}, allowed "
            f"{TOLERANCE:g}. Is something random or normalised by the batch in inference mode?",
        )


@check("backbone", needs=("builds-feature-maps",))
def lists_its_blocks(subject: Subject) -> None:
    """blocks() gives lists of the network's layers, each layer once, from input to output."""
    network = _model(subject).backbone
    blocks = blocks_of(_backbone(subject), network)
    expect(blocks, "blocks() gave no block, so that nothing could be fine-tuned.")
    layers = [layer for block in blocks for layer in block]
    expect(
        len({id(layer) for layer in layers}) == len(layers),
        "blocks() names a layer twice; a layer belongs to one block.",
    )
    order: dict[int, int] = {}
    for layer in _in_order(network):
        order.setdefault(id(layer), len(order))
    first = [min(order[id(layer)] for layer in block) for block in blocks]
    expect(
        first == sorted(first),
        "blocks() gives its blocks in another order than from input to output: fine-tuning "
        "unfreezes the last ones.",
    )


def _in_order(layer: Any) -> Iterator[Any]:
    """Yield the layers within a layer, each before its own parts.

    Keras' own ``_flatten_layers()`` gives the parts of a network within a network backwards.
    """
    for part in layer._layers:
        yield part
        yield from _in_order(part)


@check("backbone", needs=("gives-finite-features", "lists-its-blocks"))
def stays_frozen(subject: Subject) -> None:
    """Fine-tuning the last block moves no frozen weight, and no batch normalisation anywhere."""
    import keras

    from tlkit.fitting import Fitter
    from tlkit.training_examples import Examples

    model = _model(subject)
    network = model.backbone
    blocks = blocks_of(_backbone(subject), network)
    unfreeze(network, blocks, 1)
    try:
        still = [weight for weight in network.weights if not _is_trained(weight, network)]
        before = [weight.numpy().copy() for weight in still]
        normalisation = batch_normalisation_state(network)
        whole = keras.Model(
            model.features.inputs, model.head(model.features.outputs[0]), name="whole"
        )
        images, labels = coloured_images(IMAGES, _backbone(subject).image_size, seed=0)
        fitter = Fitter(whole, keras.optimizers.Adam(1e-3), batch_size=IMAGES)
        fitter.train_epoch(Examples(images, labels, np.arange(IMAGES)), 0, 1)
        moved = [
            weight.path
            for weight, old in zip(still, before, strict=True)
            if not np.array_equal(weight.numpy(), old)
        ]
        expect(
            not moved,
            f"Weights that are frozen moved in fine-tuning: {', '.join(moved[:5])}. A layer that "
            f"assigns its own state in a call must not do so while it is not trainable.",
        )
        after = batch_normalisation_state(network)
        expect(
            all(np.array_equal(old, new) for old, new in zip(normalisation, after, strict=True)),
            "Its batch normalisation moved in fine-tuning. Does build() return plain Keras layers?",
        )
    finally:
        freeze(network)


def _is_trained(weight: Any, network: Any) -> bool:
    return any(weight is item for item in network.trainable_weights)


@check("backbone", needs=("gives-each-image-its-own-features",))
def saves_and_loads(subject: Subject) -> None:
    """The saved model loads with Keras alone, without Lambda or pickle, and answers the same."""
    model = _model(subject).model
    images, _ = coloured_images(IMAGES, 40, seed=1)
    saved_and_loaded(model, images, subject.folder, TOLERANCE, subject.make())


@check("backbone")
def names_bad_settings(subject: Subject) -> None:
    """Weights that do not exist are refused with an error of tlkit that names them."""
    backbone = _backbone(subject)
    if "weights" not in backbone.options:
        return
    options = dict(backbone.options) | {"weights": NO_WEIGHTS}
    try:
        type(backbone)(**options).build()
    except TlkitError as err:
        expect(
            NO_WEIGHTS in str(err),
            f"The error about weights = '{NO_WEIGHTS}' does not name them: {err}",
        )
    except Exception as err:
        raise CheckFailed(
            f"weights = '{NO_WEIGHTS}' ends with {type(err).__name__}: {err}. Raise "
            f"tlkit.WeightsError: what was received, what is allowed, what to do."
        ) from err
    else:
        raise CheckFailed(
            f"weights = '{NO_WEIGHTS}' is taken without a word. Refuse what it does not know with "
            f"tlkit.WeightsError, or leave the keyword out of the constructor."
        )
