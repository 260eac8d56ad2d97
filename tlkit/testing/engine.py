"""What tlkit asks of an engine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np

from tlkit.engine import Engine, Forward
from tlkit.engine_choice import MAX_RELATIVE_ERROR, compare
from tlkit.model import assemble
from tlkit.plugin_calls import plugin_call
from tlkit.records import Float32Array
from tlkit.testing.parts import NUM_CLASSES, SmallBackbone, SmallHead, coloured_images
from tlkit.testing.suite import CheckFailed, Subject, check, expect

IMAGES = 36
THREADS = 8
ROUNDS = 4


def _engine(subject: Subject) -> Engine:
    return cast(Engine, subject.once("engine", subject.make))


def _model(subject: Subject) -> Any:
    def make() -> Any:
        return assemble(SmallBackbone(), SmallHead(), NUM_CLASSES).features

    return subject.once("model", make)


def _forward(subject: Subject) -> Forward:
    def compile_() -> Forward:
        engine = _engine(subject)
        with plugin_call(engine, "compile()"):
            return engine.compile(_model(subject))

    return cast(Forward, subject.once("forward", compile_))


def _run(subject: Subject, pixels: Any) -> Float32Array:
    with plugin_call(_engine(subject), "what compile() returned"):
        # A copy: that pixels are left alone is for one check to say.
        return np.asarray(_forward(subject)(pixels.copy()))


def _expected(subject: Subject, pixels: Any) -> Float32Array:
    found = _model(subject)(pixels.astype(np.float32), training=False)
    return cast(Float32Array, np.asarray(found))


def _allowed_error(subject: Subject) -> float:
    return MAX_RELATIVE_ERROR if _engine(subject).precision == "float32" else 0.5


@check("engine")
def is_installed(subject: Subject) -> None:
    """The module that it names in ``module`` can be imported; else it cannot be checked."""
    engine = _engine(subject)
    expect(
        engine.is_installed(),
        f"It needs {engine.module}: pip install {engine.install or engine.module}, then check it.",
    )


@check("engine", needs=("is-installed",))
def compiles(subject: Subject) -> None:
    """compile() returns a function from pixels to float32 features, one row for each image."""
    pixels, _ = coloured_images(IMAGES, SmallBackbone().image_size, seed=0)
    found, expected = _run(subject, pixels), _expected(subject, pixels)
    expect(
        found.dtype == np.float32 and found.shape == expected.shape,
        f"It gives {found.dtype} of shape {found.shape}; allowed: float32 of {expected.shape}.",
    )


@check("engine", needs=("compiles",))
def equals_tensorflow(subject: Subject) -> None:
    """Its features equal TensorFlow's, as `engine = "auto"` compares them."""
    engine = _engine(subject)
    pixels, labels = coloured_images(IMAGES, SmallBackbone().image_size, seed=0)
    trial = compare(engine, _expected(subject, pixels), _run(subject, pixels), labels)
    expect(
        trial.accepted or engine.precision != "float32",
        f"Its features are not TensorFlow's: {trial.reason}; allowed: an error up to "
        f"{MAX_RELATIVE_ERROR:g} and the same accuracy. One that computes in another precision "
        f"says so in `precision`.",
    )


@check("engine", needs=("equals-tensorflow",))
def takes_any_batch(subject: Subject) -> None:
    """It takes 1, 3 or 36 images, as uint8 or float32."""
    pixels, _ = coloured_images(IMAGES, SmallBackbone().image_size, seed=0)
    whole = _expected(subject, pixels)
    scale = float(np.abs(whole).max())
    for count in (1, 3, IMAGES):
        for given in (pixels[:count], pixels[:count].astype(np.float32)):
            what = f"{count} images of {given.dtype}"
            try:
                found = _run(subject, given)
            except Exception as err:
                raise CheckFailed(f"With {what}: {err}") from err
            expect(
                found.shape == whole[:count].shape
                and np.abs(found - whole[:count]).max() / scale <= _allowed_error(subject),
                f"With {what} it gives other features than for all of them.",
            )


@check("engine", needs=("takes-any-batch",))
def runs_in_several_threads(subject: Subject) -> None:
    """Called from several threads at once, each gets the features of its own images."""
    batches = [
        coloured_images(IMAGES // 2, SmallBackbone().image_size, seed=number)[0]
        for number in range(THREADS)
    ]
    expected = [_expected(subject, batch) for batch in batches]
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(lambda pixels: np.array(_run(subject, pixels)), batches * ROUNDS))
    for one, right in zip(found, expected * ROUNDS, strict=True):
        scale = float(np.abs(right).max())
        expect(
            one.shape == right.shape
            and np.abs(one - right).max() / scale <= _allowed_error(subject),
            f"Called from {THREADS} threads at once it mixes up their images. Give each thread a "
            f"request and a buffer of its own, or guard them with a lock.",
        )


@check("engine", needs=("takes-any-batch",))
def leaves_pixels_alone(subject: Subject) -> None:
    """It does not change the pixels that it receives: they are a view of the data set."""
    pixels, _ = coloured_images(IMAGES, SmallBackbone().image_size, seed=0)
    for given in (pixels.copy(), pixels.astype(np.float32)):
        before = given.copy()
        with plugin_call(_engine(subject), "what compile() returned"):
            _forward(subject)(given)
        expect(
            np.array_equal(given, before),
            f"It changed the {given.dtype} pixels that it received. Work on a copy.",
        )
