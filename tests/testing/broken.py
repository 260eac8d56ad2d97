"""Plugins that are right but for one thing each: the check that finds it, and it alone."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tlkit import (
    Backbone,
    ClosedFormHead,
    DatasetSource,
    Engine,
    Head,
    ImageData,
    Reporter,
    Split,
    WeightsError,
    Workflow,
)

BROKEN: dict[tuple[str, str], Any] = {}


def breaks(check: str, **options: Any) -> Any:
    """Note which check a class fails, and what it is made with."""

    def note(plugin: type) -> type:
        BROKEN[plugin.kind, check] = lambda: plugin(**options)
        return plugin

    return note


class Right(Backbone):
    """A backbone that passes every check."""

    name: ClassVar[str] = "right"

    def __init__(self, image_size: int = 16, weights: str = "random") -> None:
        super().__init__(image_size, weights)

    def layers(self) -> list[Any]:
        import keras

        return [
            keras.layers.Conv2D(8, 3, strides=2),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Conv2D(8, 3),
        ]

    def build(self) -> Any:
        import keras

        if self.weights != "random":
            raise WeightsError(f"Unknown weights '{self.weights}'. Allowed: 'random'.")
        size = self.image_size
        return keras.Sequential([keras.Input((size, size, 3)), *self.layers()])

    def preprocess(self, images: Any) -> Any:
        import keras

        return keras.layers.Rescaling(1 / 255)(images)


@breaks("has-a-name")
class Nameless(Right):
    """No name."""

    name = ""


@breaks("says-what-it-is")
class Undescribed(Right):
    name = "undescribed"


@breaks("options-fit-their-types")
class Mistyped(Right):
    """A default of another type than its hint."""

    name = "mistyped"

    def __init__(self, image_size: int = 16, rate: int = "fast") -> None:  # type: ignore[assignment]
        super().__init__(image_size)
        self.rate = rate


@breaks("options-can-be-written")
class Unwritable(Right):
    """An option that no config can hold."""

    name = "unwritable"

    def __init__(self, image_size: int = 16, scale: Any = np.sin) -> None:
        super().__init__(image_size)
        self.scale = scale


@breaks("is-made-again-from-its-options")
class Positional(Right):
    """An option that cannot be given by its name."""

    name = "positional"

    def __init__(self, image_size: int = 16, /) -> None:
        super().__init__(image_size)


@breaks("refuses-unknown-options")
class Greedy(Right):
    """It takes any keyword."""

    name = "greedy"

    def __init__(self, image_size: int = 16, **more: Any) -> None:
        super().__init__(image_size)


@breaks("leaves-the-process-alone")
class Reseeding(Right):
    """It sets the seed of all of numpy."""

    name = "reseeding"

    def build(self) -> Any:
        np.random.seed(7)
        return super().build()


@breaks("builds-feature-maps")
class Topped(Right):
    """Its top is on."""

    name = "topped"

    def layers(self) -> list[Any]:
        import keras

        return [
            *super().layers(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(1000, activation="softmax"),
        ]


@breaks("leaves-pixels-alone")
class InPlace(Right):
    """It scales the pixels that it was given."""

    name = "in_place"

    def preprocess(self, images: Any) -> Any:
        if isinstance(images, np.ndarray):
            images /= 255
            return images
        return super().preprocess(images)


@breaks("gives-finite-features")
class Overflowing(Right):
    """Its weights are not numbers."""

    name = "overflowing"

    def build(self) -> Any:
        network = super().build()
        network.layers[0].kernel.assign(network.layers[0].kernel * np.nan)
        return network


@breaks("sees-the-image")
class Blind(Right):
    """Its features are all the same."""

    name = "blind"

    def build(self) -> Any:
        network = super().build()
        network.layers[-1].kernel.assign(network.layers[-1].kernel * 0)
        return network


@breaks("gives-each-image-its-own-features")
class Crowded(Right):
    """It normalises by the other images of the batch."""

    name = "crowded"
    modules = ("tests.testing.broken_layers",)

    def layers(self) -> list[Any]:
        from tests.testing.broken_layers import ByTheBatch

        return [*super().layers(), ByTheBatch()]


@breaks("lists-its-blocks")
class Backwards(Right):
    """Its blocks go from output to input."""

    name = "backwards"

    def blocks(self, model: Any) -> list[list[Any]]:
        return super().blocks(model)[::-1]


@breaks("stays-frozen")
class Restless(Right):
    """A layer that counts its calls in training, frozen or not."""

    name = "restless"
    modules = ("tests.testing.broken_layers",)

    def layers(self) -> list[Any]:
        from tests.testing.broken_layers import Counting

        return [Counting(), *super().layers()]


@breaks("saves-and-loads")
class Unregistered(Right):
    """A layer that Keras is not told of."""

    name = "unregistered"

    def layers(self) -> list[Any]:
        return [*super().layers(), unregistered_layer()]


def unregistered_layer() -> Any:
    import keras

    class Doubled(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs * 2

    return Doubled()


@breaks("names-bad-settings")
class Careless(Right):
    """It looks its weights up in a dictionary."""

    name = "careless"

    def build(self) -> Any:
        {"random": None}[self.weights]
        return super().build()


class RightHead(Head):
    """A head that passes every check."""

    name: ClassVar[str] = "right"

    def build(self, feature_shape: tuple[int, ...], num_classes: int) -> Any:
        return network_of(feature_shape, *self.layers(num_classes))

    def layers(self, num_classes: int) -> list[Any]:
        import keras

        return [keras.layers.Dropout(0.2), keras.layers.Dense(num_classes)]


def network_of(shape: tuple[int, ...], *layers: Any) -> Any:
    import keras

    return keras.Sequential([keras.Input(shape), *layers])


@breaks("builds-logits")
class OneLogit(RightHead):
    """One number, whatever the number of classes."""

    name = "one_logit"

    def layers(self, num_classes: int) -> list[Any]:
        return super().layers(1)


@breaks("gives-no-probabilities")
class Softmaxed(RightHead):
    """Its softmax is on."""

    name = "softmaxed"

    def layers(self, num_classes: int) -> list[Any]:
        import keras

        return [*super().layers(num_classes), keras.layers.Softmax()]


@breaks("starts-afresh")
class Worn(RightHead):
    """It makes its layers once for all networks."""

    name = "worn"

    def __init__(self) -> None:
        self.made: dict[Any, Any] = {}

    def build(self, feature_shape: tuple[int, ...], num_classes: int) -> Any:
        key = feature_shape, num_classes
        if key not in self.made:
            self.made[key] = super().build(feature_shape, num_classes)
        return self.made[key]


@breaks("answers-the-same-again")
class Dreaming(RightHead):
    """Dropout in inference mode."""

    name = "dreaming"

    def layers(self, num_classes: int) -> list[Any]:
        import keras

        @keras.saving.register_keras_serializable("broken")
        class Always(keras.layers.Dropout):
            def call(self, inputs: Any, training: bool = True) -> Any:
                return super().call(inputs, training=True)

        return [Always(0.01), keras.layers.Dense(num_classes)]


@breaks("learns")
class Deaf(RightHead):
    """A layer in front that lets nothing through."""

    name = "deaf"

    def layers(self, num_classes: int) -> list[Any]:
        import keras

        return [keras.layers.Rescaling(0.0), keras.layers.Dense(num_classes)]


@breaks("leaves-features-alone")
class Shifting(ClosedFormHead):
    """It centres the features that it was given, in place."""

    name: ClassVar[str] = "shifting"

    def build(self, feature_shape: tuple[int, ...], num_classes: int) -> Any:
        import keras

        return network_of(feature_shape, keras.layers.Dense(num_classes))

    def solve(self, train: Any, validation: Any, class_weight: Any) -> Any:
        features = train.features
        features -= 0.5
        network = self.build(features.shape[1:], train.num_classes)
        means = np.stack([features[train.labels == c].mean(axis=0) for c in range(3)])
        network.layers[-1].kernel.assign(2 * means.T)
        network.layers[-1].bias.assign(-(means**2).sum(axis=1))
        return network, {}


@breaks("saves-and-loads")
class UnregisteredHead(RightHead):
    """A layer that Keras is not told of."""

    name = "unregistered"

    def layers(self, num_classes: int) -> list[Any]:
        return [*super().layers(num_classes), unregistered_layer()]


class RightDataset(DatasetSource):
    """A dataset that passes every check."""

    name: ClassVar[str] = "right"
    scale = 256

    def load(self, seed: int) -> ImageData:
        generator = np.random.default_rng(seed)

        def split(count: int) -> Split:
            images = generator.integers(0, self.scale, (count, 8, 8, 3)).astype(np.uint8)
            return Split(self.wrap(images), self.labels(count))

        return ImageData(split(20), split(10), ("even", "odd"))

    def labels(self, count: int) -> Any:
        return np.arange(count) % 2

    def wrap(self, images: Any) -> Any:
        return images


@breaks("loads-images-and-labels")
class Mislabelled(RightDataset):
    """Labels from 1."""

    name = "mislabelled"

    def labels(self, count: int) -> Any:
        return super().labels(count) + 1


@breaks("gives-pixels-as-bytes")
class Dark(RightDataset):
    """Pixels of 0 and 1."""

    name = "dark"
    scale = 2


@breaks("loads-the-same-again")
class Shuffled(RightDataset):
    """It draws without the seed."""

    name = "shuffled"

    def load(self, seed: int) -> ImageData:
        return super().load(int(np.random.default_rng().integers(2**31)))


class Lazy:
    """A sequence that gives one image after another."""

    def __init__(self, images: Any) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return self.images[index]


@breaks("is-read-from-several-threads")
class Racing(RightDataset):
    """All threads read into one place."""

    name = "racing"

    def wrap(self, images: Any) -> Any:
        class OnePlace(Lazy):
            place = 0

            def __getitem__(self, index: int) -> Any:
                self.place = index
                time.sleep(0.0005)
                return self.images[self.place]

        return OnePlace(images)


@breaks("counts-its-images")
class Endless(RightDataset):
    """It begins again behind its end."""

    name = "endless"

    def wrap(self, images: Any) -> Any:
        class Circle(Lazy):
            def __iter__(self) -> Any:
                return (self.images[row] for row in range(len(self)))

            def __getitem__(self, index: int) -> Any:
                return self.images[index % len(self.images)]

        return Circle(images)


class RightReporter(Reporter):
    """A reporter that passes every check; it reads what the Trainer has saved by then."""

    name: ClassVar[str] = "right"

    def on_run_begin(self, run: Any, **kwargs: Any) -> None:
        if run.folder is not None:
            assert "[backbone]" in (run.folder / "config.toml").read_text()
            assert not (run.folder / "model.keras").exists()

    def on_run_end(self, result: Any, **kwargs: Any) -> None:
        print(f"{result.accuracy:.1%}")
        if result.folder is not None:
            assert (result.folder / "model.keras").stat().st_size
            assert (result.folder / "predictions.npz").stat().st_size
            (result.folder / "right.txt").write_text("right")


@breaks("follows-a-run")
class Raising(RightReporter):
    """It wants a figure that there is not."""

    name = "raising"

    def on_epoch_end(self, phase: Any, epoch: int, metrics: Any, *rest: Any, **kwargs: Any) -> None:
        print(metrics["top_9_accuracy"])


@breaks("takes-what-is-new")
class Rigid(RightReporter):
    """An event without **kwargs."""

    name = "rigid"

    def on_phase_begin(self, phase: Any) -> None:  # type: ignore[override]
        print(phase.name)


@breaks("survives-odd-runs")
class Trusting(RightReporter):
    """It takes for granted that the run is saved."""

    name = "trusting"

    def on_run_end(self, result: Any, **kwargs: Any) -> None:
        (result.folder / "right.txt").write_text("right")


@breaks("survives-any-width")
class Wide(RightReporter):
    """It wants 40 columns."""

    name = "wide"

    def on_run_end(self, result: Any, **kwargs: Any) -> None:
        import shutil
        import textwrap

        width = shutil.get_terminal_size().columns - 40
        print(textwrap.fill("a long text " * 20, width))


@breaks("writes-only-into-the-run")
class Littering(RightReporter):
    """It writes where it stands."""

    name = "littering"

    def on_run_end(self, result: Any, **kwargs: Any) -> None:
        Path("littering.txt").write_text(str(result.accuracy))


@breaks("leaves-the-result-alone")
class Tidying(RightReporter):
    """It rounds the probabilities that others read after it."""

    name = "tidying"

    def on_run_end(self, result: Any, **kwargs: Any) -> None:
        result.test.probabilities[:] = result.test.probabilities.round(1)


class RightWorkflow(Workflow):
    """A workflow that passes every check."""

    name: ClassVar[str] = "right"

    def run(self, session: Any) -> None:
        import keras

        session.train_head(epochs=1, optimizer=keras.optimizers.Adam(self.rate()), batch_size=16)

    def rate(self) -> float:
        return 1e-3


@breaks("trains")
class Idle(RightWorkflow):
    """It trains nothing."""

    name = "idle"

    def run(self, session: Any) -> None:
        session.features("train")


@breaks("trains-the-same-again")
class Moody(RightWorkflow):
    """Its learning rate is drawn without the seed."""

    name = "moody"

    def rate(self) -> float:
        return float(np.random.default_rng().uniform(1e-3, 1e-1))


@breaks("leaves-the-test-set-alone")
class Peeking(RightWorkflow):
    """It looks at its test accuracy."""

    name = "peeking"

    def run(self, session: Any) -> None:
        super().run(session)
        session.predict("test")


@breaks("says-whether-it-fine-tunes")
class Secret(RightWorkflow):
    """It fine-tunes, and says that it does not."""

    name = "secret"
    fine_tunes = False

    def run(self, session: Any) -> None:
        import keras

        super().run(session)
        session.fine_tune(epochs=1, optimizer=keras.optimizers.Adam(1e-4), unfreeze_blocks=1)


class RightEngine(Engine):
    """An engine that passes every check."""

    name: ClassVar[str] = "right"

    def compile(self, model: Any) -> Any:
        import tensorflow as tf

        return lambda pixels: model(tf.cast(pixels, tf.float32), training=False).numpy()


@breaks("is-installed")
class Absent(RightEngine):
    """It needs a module that there is not."""

    name = "absent"
    module = "no_such_module_at_all"


@breaks("compiles")
class Double(RightEngine):
    """It gives float64."""

    name = "double"

    def compile(self, model: Any) -> Any:
        forward = super().compile(model)
        return lambda pixels: forward(pixels).astype(np.float64)


@breaks("equals-tensorflow")
class Off(RightEngine):
    """It is one per cent off."""

    name = "off"

    def compile(self, model: Any) -> Any:
        forward = super().compile(model)
        return lambda pixels: forward(pixels) * np.float32(1.01)


@breaks("takes-any-batch")
class Single(RightEngine):
    """It cannot take one image alone."""

    name = "single"

    def compile(self, model: Any) -> Any:
        forward = super().compile(model)
        return lambda pixels: forward(pixels.squeeze())


@breaks("runs-in-several-threads")
class Shared(RightEngine):
    """All threads fill one buffer."""

    name = "shared"

    def compile(self, model: Any) -> Any:
        forward = super().compile(model)
        held: dict[str, Any] = {}

        def run(pixels: Any) -> Any:
            held["pixels"] = pixels
            # So that the other threads surely come between.
            if threading.active_count() > 2:
                time.sleep(0.002)
            return forward(held["pixels"])

        return run


@breaks("leaves-pixels-alone")
class Scaling(RightEngine):
    """It scales the pixels that it was given, and scales them back, nearly."""

    name = "scaling"

    def compile(self, model: Any) -> Any:
        forward = super().compile(model)

        def run(pixels: Any) -> Any:
            features = forward(pixels)
            pixels[...] = pixels // 2
            return features

        return run


RIGHT = {
    plugin.kind: plugin
    for plugin in (Right, RightHead, RightDataset, RightReporter, RightWorkflow, RightEngine)
}
