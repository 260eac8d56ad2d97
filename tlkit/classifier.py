"""Classifier: a finished run's model, loaded once and applied many times."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit import run_folder, thumbnails
from tlkit.calibration import softmax
from tlkit.engine import Engine, Forward
from tlkit.engine_choice import (
    MAX_RELATIVE_ERROR,
    PROBE_IMAGES,
    EngineChooser,
    Judge,
    Probe,
    engines_folder,
    mismatch,
    trial_of,
)
from tlkit.errors import ConfigError, DataError, RunFolderError
from tlkit.features import FeatureStore
from tlkit.images import read_picture
from tlkit.model_parts import ModelParts, find_parts
from tlkit.out_of_memory import in_halves
from tlkit.records import EngineTrial, Float32Array, Int64Array, RunResult, UInt8Array
from tlkit.registry import Registry
from tlkit.resizing import Resizer, make_resizer, stack_resized
from tlkit.runtime import no_talk_of_retracing
from tlkit.store_urls import local_place

if TYPE_CHECKING:
    import keras

# So many pictures that measuring engines pays.
NO_END = 2**62


@dataclass(frozen=True)
class Answers:
    """What a model makes of pictures, in one pass.

    Attributes:
        probabilities: float32 (N, number of classes), rows sum to 1.
        features: What the head, or the layers asked for, gave of each picture as it is, float32
            (N, channels); feature maps are averaged over their places. None if the classifier was
            opened without.
    """

    probabilities: Float32Array
    features: Float32Array | None = None


class Classifier:
    """The model of a finished run, ready to classify; its methods may run in many threads at once.

    The calibration's temperature and the views of the test-time augmentation are part of the saved
    model, so that they hold here too::

        classifier = Classifier.open("runs/20261124-122141-mobilenet")
        pixels = classifier.resize(read_picture("cat.jpg"))
        classifier.probabilities(pixels[None])[0]

    Attributes:
        run: The run; its model stays out of it.
        class_names: The classes, in the order of the probabilities.
        image_size: The side of the pixels that the model takes.
        engine: The name of the engine that runs the model.
        trials: How other engines compared with TensorFlow; empty where none was tried.
        model: The loaded ``keras.Model``: pixels of any size to probabilities.
    """

    def __init__(
        self,
        run: RunResult,
        model: keras.Model,
        parts: ModelParts,
        forward: Forward,
        engine: str,
        trials: tuple[EngineTrial, ...] = (),
    ) -> None:
        """Keep what ``open()`` made.

        Args:
            run: The run.
            model: Its model.
            parts: The parts of the model.
            forward: From all views of resized pixels to each view's logits, with features after
                them if wanted.
            engine: What compiled ``forward``.
            trials: How other engines compared.
        """
        self.run, self.model, self.engine, self.trials = run, model, engine, trials
        self.class_names: tuple[str, ...] = run.info.class_names
        self.image_size: int = parts.resize.height
        self._resize, self._look = make_resizer(parts.resize), _make_look(parts)
        self._views, self._temperature = parts.number_of_views, parts.temperature
        self._forward = forward

    @classmethod
    def open(
        cls,
        folder: Path | str,
        engine: Engine | str | Mapping[str, Any] = "auto",
        *,
        features: bool | Sequence[str] = False,
        images: int | None = None,
        registry: Registry | None = None,
        store: FeatureStore | None = None,
    ) -> Classifier:
        """Load the model of a finished run and compile it with an engine.

        Before an engine other than TensorFlow is used, its answers are compared with TensorFlow's
        on test images that the run folder keeps, or on noise where it keeps none.

        Args:
            folder: The run folder.
            engine: ``"auto"``, for the fastest installed engine that answers as TensorFlow does; a
                registered name; a mapping with ``name`` and options; or an engine.
            features: Whether ``answer()`` gives what the head receives too; or names of layers of
                the backbone, whose maps' means it gives, one after the other.
            images: How many pictures are to come: with few, ``"auto"`` takes TensorFlow without
                trying another. None for no end.
            registry: Where engines are looked up; by default the built-in and installed ones.
            store: Measurements are kept beside its folder; by default the user's.

        Raises:
            RunFolderError: If it is no finished run, or its model cannot be read.
            UnknownPluginError: If there is no engine of that name.
            EngineError: If the engine is not installed, cannot compile the model, or answers
                otherwise than TensorFlow.
        """
        folder = local_place(folder)
        run = run_folder.load_run(folder)
        registry = registry if registry is not None else Registry()
        chosen = _engine(engine, registry)
        candidates, _ = registry.engines()
        store = store if store is not None else FeatureStore()
        model = run_folder.load_model(folder)
        try:
            parts = find_parts(model)
        except ValueError as err:
            raise RunFolderError(f"The model in {folder} was not saved by tlkit: {err}.") from err
        number = len(run.info.class_names)
        if parts.logits.shape[-1] != number:
            raise RunFolderError(
                f"The run folder {folder} is damaged: its model tells {parts.logits.shape[-1]} "
                f"classes apart, and the run has {number}."
            )
        looks = _from_looks(folder, parts, features)
        chooser = EngineChooser(
            chosen,
            candidates,
            engines_folder(store.folder),
            _judge_of_answers(number, parts.temperature),
        )
        with no_talk_of_retracing():
            forward = chooser.choose(
                looks,
                _digest(run_folder.model_path(folder), features),
                lambda: _probe(folder, parts),
                NO_END if images is None else images * parts.number_of_views,
            )
        return cls(run, model, parts, forward, chooser.name, tuple(chooser.trials))

    def resize(self, picture: UInt8Array) -> Any:
        """Bring one picture to the model's size, as the saved model's own layer does.

        Args:
            picture: RGB pixels, uint8 (height, width, 3).

        Returns:
            float32 (image_size, image_size, 3), 0 to 255; the picture itself if it has that size.
        """
        with no_talk_of_retracing():
            return self._resize(picture[None])[0]

    def stack(self, pictures: Any) -> Any:
        """Resize pictures and stack them into one batch.

        Args:
            pictures: uint8 arrays (height, width, 3), 1 or more, of one size or several; or a uint8
                array (N, height, width, 3).

        Returns:
            (N, image_size, image_size, 3): uint8 if all have that size already, else float32.
        """
        with no_talk_of_retracing():
            return stack_resized(pictures, self._resize)

    def probabilities(self, pixels: Any) -> Float32Array:
        """Classify resized pictures.

        Args:
            pixels: uint8 or float32 (N, image_size, image_size, 3), 0 to 255, N of 1 or more.

        Returns:
            float32 (N, number of classes), rows sum to 1.

        Raises:
            DataError: If the pixels have another shape or type.
            EngineError: If memory runs out with a single picture.
        """
        return self.answer(pixels).probabilities

    def answer(self, pixels: Any) -> Answers:
        """Classify resized pictures; with their features if the classifier was opened so.

        Args:
            pixels: As for ``probabilities()``.

        Raises:
            DataError: If the pixels have another shape or type.
            EngineError: If memory runs out with a single picture.
        """
        self._check(pixels)
        rows = in_halves(self._rows, pixels, lambda size: None)
        number = len(self.class_names)
        # A copy, as a view would hold on to the logits too.
        features = np.array(rows[:, number:]) if rows.shape[1] > number else None
        return Answers(softmax(rows[:, :number], self._temperature), features)

    def _rows(self, pixels: Any) -> Float32Array:
        """Return the logits, and the features after them, float32 (N, ...)."""
        found, images = self._forward(self._look(pixels)), len(pixels)
        if self._views == 1:
            return found
        number = len(self.class_names)
        logits = found[:, :number].reshape(self._views, images, number).mean(axis=0)
        # The first view of each is the image as it is.
        return np.concatenate([logits, found[:images, number:]], axis=1)

    def _check(self, pixels: Any) -> None:
        shape, dtype = getattr(pixels, "shape", ()), getattr(pixels, "dtype", None)
        size = self.image_size
        if len(shape) != 4 or shape[1:] != (size, size, 3) or not len(pixels):
            raise DataError(
                f"Cannot classify pixels of shape {tuple(shape)}; allowed: (N, {size}, {size}, 3), "
                f"N of 1 or more. resize() makes them so."
            )
        if dtype not in (np.uint8, np.float32):
            raise DataError(f"Cannot classify pixels of {dtype}; allowed: uint8 and float32.")


def _engine(given: Engine | str | Mapping[str, Any], registry: Registry) -> Engine | None:
    if isinstance(given, Engine):
        return given
    options = {"name": given} if isinstance(given, str) else dict(given)
    name = options.pop("name", None)
    if not isinstance(name, str) or (name == "auto" and options):
        raise ConfigError(
            f"Cannot use {given!r} as engine. Allowed: 'auto', a registered name, an Engine, or a "
            f"mapping with 'name' and that engine's options."
        )
    if name == "auto":
        return None
    made = registry.create("engine", name, **options)
    assert isinstance(made, Engine)
    return made


def _make_look(parts: ModelParts) -> Resizer:
    """Return what takes the model's views of resized pixels; TensorFlow does so for any engine.

    Not every engine knows the operations that scale with antialiasing, and the feature store too
    makes views in this way.
    """
    if parts.number_of_views == 1:
        return lambda pixels: pixels
    import keras
    import tensorflow as tf

    size = parts.resize.height
    model = keras.Model(parts.resize.output, parts.looks)

    @tf.function(  # type: ignore[untyped-decorator]
        jit_compile=False, input_signature=[tf.TensorSpec((None, size, size, 3), tf.float32)]
    )
    def look(pixels: Any) -> Any:
        return model(pixels, training=False)

    return lambda pixels: look(tf.cast(pixels, tf.float32)).numpy()


def _from_looks(folder: Path, parts: ModelParts, features: bool | Sequence[str]) -> keras.Model:
    """Return the model from views on: each one's logits, with features after them if asked."""
    import keras

    if not features:
        return keras.Model(parts.looks, parts.scores)
    scores, found = parts.scores, [parts.features]
    if not isinstance(features, bool):
        try:
            maps = [parts.backbone.get_layer(name).output for name in features]
        except ValueError as err:
            raise RunFolderError(f"The model in {folder} is another one: {err}") from err
        opened = keras.Model(parts.backbone.inputs, [parts.backbone.outputs[0], *maps])
        last, *found = opened(parts.inputs)
        scores = keras.Model(parts.maps, parts.scores)(last)
    means = [
        keras.layers.GlobalAveragePooling2D()(item) if len(item.shape) == 4 else item
        for item in found
    ]
    return keras.Model(parts.looks, keras.layers.Concatenate()([scores, *means]))


def _digest(path: Path, features: bool | Sequence[str]) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(repr(features).encode())
    return digest.hexdigest()


def _probe(folder: Path, parts: ModelParts) -> Probe:
    count = -(-PROBE_IMAGES // parts.number_of_views)
    try:
        kept = thumbnails.load(folder)[:count]
        pictures = [read_picture(item.content) for item in kept]
    except (RunFolderError, DataError):  # runs may keep none, and reports say what is wrong
        pictures = []
    if not pictures:
        noise = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3))
        pictures = list(noise.astype(np.uint8))
    pixels = _make_look(parts)(stack_resized(pictures, make_resizer(parts.resize)))
    # What is compared are answers, so that no label is needed.
    return Probe(pixels, np.zeros(len(pixels), np.int64))


def _judge_of_answers(number: int, temperature: float) -> Judge:
    """Return what compares an engine's answers with TensorFlow's.

    Args:
        number: The number of classes. Logits come first, and their probabilities are compared; what
            follows are features, which are compared in proportion to the largest.
        temperature: What the model divides logits by.
    """

    def judge(
        engine: Engine, expected: Float32Array, found: Float32Array, labels: Int64Array
    ) -> EngineTrial:
        reason, error, same = mismatch(expected, found), 0.0, 0.0
        if not reason:
            shares, wanted = (softmax(rows[:, :number], temperature) for rows in (found, expected))
            features, reference = found[:, number:], expected[:, number:]
            scale = max(float(np.abs(reference).max(initial=0)), 1e-30)
            errors = {
                "probabilities": float(np.abs(shares - wanted).max()),
                "features, as a share of the largest,": float(
                    np.abs(features - reference).max(initial=0) / scale
                ),
            }
            what = max(errors, key=lambda name: errors[name])
            error = errors[what]
            same = float((shares.argmax(axis=1) == wanted.argmax(axis=1)).mean())
            if error > MAX_RELATIVE_ERROR:
                reason = f"{what} differ by {error:.2g} on {len(found)} images"
        return trial_of(engine, reason, error, same, reference_accuracy=1.0)

    return judge
