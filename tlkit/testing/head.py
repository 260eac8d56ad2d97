"""What tlkit asks of a head."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from tlkit.head import ClosedFormHead, Head
from tlkit.model import pool
from tlkit.network_checks import check_logits_are_no_probabilities, check_logits_shape
from tlkit.plugin_calls import plugin_call
from tlkit.records import Float32Array, Int64Array, LabelledFeatures
from tlkit.testing.parts import NUM_CLASSES
from tlkit.testing.saving import saved_and_loaded
from tlkit.testing.suite import CheckFailed, Subject, check, expect

CHANNELS, SIDE = 12, 3
IMAGES = 60
TOLERANCE = 1e-5
BETTER_THAN_CHANCE = 0.6


def _head(subject: Subject) -> Head:
    return cast(Head, subject.once("head", subject.make))


def _shape(head: Head, channels: int = CHANNELS) -> tuple[int, ...]:
    pool(head)  # which refuses a pooling that there is not
    return (channels,) if head.pooling else (SIDE, SIDE, channels)


def _build(head: Head, num_classes: int = NUM_CLASSES, channels: int = CHANNELS) -> Any:
    with plugin_call(head, "build()"):
        return head.build(_shape(head, channels), num_classes)


def _easy(shape: tuple[int, ...], seed: int = 0) -> tuple[Float32Array, Int64Array]:
    """Return features whose first channels say the class, and the classes."""
    generator = np.random.default_rng(seed)
    labels = np.arange(IMAGES) % NUM_CLASSES
    features = generator.random((IMAGES, *shape), np.float32)
    for label in range(NUM_CLASSES):
        features[labels == label, ..., label] += 2
    return features, labels.astype(np.int64)


def _classifier(subject: Subject) -> Any:
    """Return the head as it answers in the end: built, or solved."""

    def make() -> Any:
        head = _head(subject)
        return _solve(head)[0] if isinstance(head, ClosedFormHead) else _build(head)

    return subject.once("classifier", make)


def _solve(head: ClosedFormHead) -> tuple[Any, LabelledFeatures, LabelledFeatures]:
    train, validation = (
        LabelledFeatures(*_easy(_shape(head), seed), NUM_CLASSES) for seed in (0, 1)
    )
    with plugin_call(head, "solve()"):
        network, _ = head.solve(train, validation, None)
    return network, train, validation


@check("head")
def builds_logits(subject: Subject) -> None:
    """build() gives a keras.Model from features of any width to one logit for each class."""
    head = _head(subject)
    for num_classes, channels in ((2, CHANNELS), (NUM_CLASSES, CHANNELS), (5, 2 * CHANNELS)):
        network = _build(head, num_classes, channels)
        check_logits_shape(head, network, _shape(head, channels), num_classes)
    check_logits_shape(head, _classifier(subject), _shape(head), NUM_CLASSES)


@check("head", needs=("builds-logits",))
def gives_no_probabilities(subject: Subject) -> None:
    """It has no softmax at its end: the loss and the saved model have their own."""
    head = _head(subject)
    check_logits_are_no_probabilities(head, _classifier(subject), _shape(head))


@check("head", needs=("builds-logits",))
def starts_afresh(subject: Subject) -> None:
    """Each build() makes weights of its own, and the same ones after the same seed."""
    import keras

    head = _head(subject)
    built = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        built.append(_build(head))
    first, second = ([weight.numpy() for weight in network.weights] for network in built)
    shared = {id(weight) for weight in built[0].weights} & {id(w) for w in built[1].weights}
    expect(
        not shared,
        "Two calls of build() give networks that share weights. Make the layers in build(), not "
        "in the constructor.",
    )
    expect(
        all(np.array_equal(a, b) for a, b in zip(first, second, strict=True)),
        "After keras.utils.set_random_seed(0) two calls of build() give other weights. Draw them "
        "by Keras' initializers, or by a seed of your own.",
    )


@check("head", needs=("builds-logits",))
def answers_the_same_again(subject: Subject) -> None:
    """In inference mode the same features get the same logits, alone or in a batch."""
    features, _ = _easy(_shape(_head(subject)))
    network = _classifier(subject)

    def logits(inputs: Any) -> Float32Array:
        import keras

        found = network(inputs, training=False)
        return cast(Float32Array, np.array(keras.ops.convert_to_numpy(found)))

    whole = logits(features)
    alone = np.concatenate([logits(row[None]) for row in features[:4]])
    expect(
        np.allclose(logits(features), whole, rtol=TOLERANCE, atol=TOLERANCE)
        and np.allclose(alone, whole[:4], rtol=1e-3, atol=1e-3),
        "The same features get other logits a second time, or alone. Is dropout on, or something "
        "normalised by the batch, in inference mode?",
    )


@check("head", needs=("builds-logits", "gives-no-probabilities"))
def learns(subject: Subject) -> None:
    """It tells three classes apart that two numbers of the features give away."""
    import keras

    from tlkit.fitting import Fitter
    from tlkit.training_examples import Examples

    head = _head(subject)
    features, labels = _easy(_shape(head))
    if isinstance(head, ClosedFormHead):
        network = _classifier(subject)
    else:
        keras.utils.set_random_seed(0)
        network = _build(head)
        expect(
            network.trainable_weights,
            "What build() returned has no weights to train. A head that is computed is a "
            "tlkit.ClosedFormHead.",
        )
        fitter = Fitter(network, keras.optimizers.Adam(1e-2), batch_size=12)
        examples = Examples(features, labels, np.arange(len(labels)))
        for epoch in range(1, 31):
            fitter.train_epoch(examples, 0, epoch)
    found = np.asarray(keras.ops.convert_to_numpy(network(features, training=False)))
    accuracy = float((found.argmax(axis=1) == labels).mean())
    expect(
        accuracy >= BETTER_THAN_CHANCE,
        f"After 30 epochs it is right for {accuracy:.0%} of {len(labels)} easy examples of "
        f"{NUM_CLASSES} classes; asked are {BETTER_THAN_CHANCE:.0%}.",
    )


@check("head", needs=("builds-logits",))
def leaves_features_alone(subject: Subject) -> None:
    """solve() does not change the features and labels, which other heads read after it."""
    head = _head(subject)
    if not isinstance(head, ClosedFormHead):
        return
    try:
        _, train, validation = _solve(head)
    except ValueError as err:
        raise CheckFailed(f"solve() fails: {err}") from err
    for given, seed in ((train, 0), (validation, 1)):
        features, labels = _easy(_shape(head), seed)
        expect(
            np.array_equal(given.features, features) and np.array_equal(given.labels, labels),
            "solve() changed the features or labels that it received. Copy them first.",
        )


@check("head", needs=("answers-the-same-again",))
def saves_and_loads(subject: Subject) -> None:
    """The saved head loads with Keras alone, without Lambda or pickle, and answers the same."""
    features, _ = _easy(_shape(_head(subject)))
    saved_and_loaded(_classifier(subject), features, subject.folder, TOLERANCE, subject.make())
