"""Session: the data, the model and the training tools that a Workflow works with."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tlkit.augmentation import Augmentation, AugmentedImages
from tlkit.backbone import Backbone
from tlkit.engine_choice import PROBE_IMAGES, EngineChooser, Probe
from tlkit.errors import ConfigError, PluginError
from tlkit.events import Events
from tlkit.extraction import Pipeline, guess_batch_size, resized_batches
from tlkit.features import Features, FeatureStore, FeatureType, Wanted
from tlkit.fingerprint import digest_images, digest_model, fingerprint
from tlkit.fitting import Examples, Fitter
from tlkit.head import Head
from tlkit.model import (
    AssembledModel,
    batch_normalisation_state,
    count_parameters,
    freeze,
    unfreeze,
)
from tlkit.records import (
    Extraction,
    Float32Array,
    ImageSequence,
    Int64Array,
    Phase,
    PhaseResult,
    Split,
)
from tlkit.resizing import Resizer, make_resizer, stack_resized
from tlkit.rows import Stacked, take_rows

if TYPE_CHECKING:
    import keras

SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Subset:
    """Some rows of a split; the training and validation images often share one split."""

    split: Split
    rows: Int64Array


@dataclass
class Session:
    """One run under way.

    Attributes:
        model: The assembled network.
        backbone: The backbone plugin.
        head: The head plugin.
        subsets: The images to train on, to validate on and to test on.
        store: Where features are kept.
        engines: Chooses what runs the frozen backbone.
        events: Tells the reporters.
        seed: Decides the order of the batches.
        feature_type: The number type of stored features.
        views: How many augmented views of each training image are stored beside the plain one.
        augmentation: How the views differ from the image.
        phases: What has been trained so far.
        feature_cache: For each split, ``"stored"`` or ``"extracted"``.
        extractions: Where the time of each extraction went.
        seconds: Wall-clock seconds spent on ``features`` and ``training``.
        fine_tuned: Whether the backbone has changed, so that stored features no longer fit it.
    """

    model: AssembledModel
    backbone: Backbone
    head: Head
    subsets: Mapping[SplitName, Subset]
    store: FeatureStore
    engines: EngineChooser
    events: Events
    seed: int
    feature_type: FeatureType = "float32"
    views: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)
    phases: list[PhaseResult] = field(default_factory=list)
    feature_cache: dict[str, str] = field(default_factory=dict)
    extractions: list[Extraction] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: {"features": 0.0, "training": 0.0})
    fine_tuned: bool = False
    digests: dict[int, str] = field(default_factory=dict)
    model_digest: str = ""
    _features: dict[tuple[int, int], Features] = field(default_factory=dict)
    _pipeline: Pipeline | None = None
    _resizer: Resizer | None = None

    def features(self, name: SplitName, view: int = 0) -> Features:
        """Return the features of all images of a subset's split: (N, ...), as they are stored.

        They come from the store, or are computed and stored.

        Args:
            name: The subset.
            view: 0 for the images as they are, else the number of an augmented view.
        """
        split = self.subsets[name].split
        key = id(split.images), view
        if self.fine_tuned:
            raise PluginError("Stored features belong to the frozen backbone; it was fine-tuned.")
        if key in self._features:
            return self._features[key]
        begin = time.monotonic()
        label = _label(name, view)
        total = len(split)
        self.events.emit("on_extract_progress", label, 0, total, 0.0, stored=False)
        found, stored = self.store.get(
            self._wanted(name, view),
            lambda done, all_, seconds: self.events.emit(
                "on_extract_progress", label, done, all_, seconds, stored=False
            ),
        )
        seconds = time.monotonic() - begin
        if stored:
            self.events.emit("on_extract_progress", label, total, total, seconds, stored=True)
        else:
            self._note_extraction(label, total, seconds)
        self.feature_cache[label] = "stored" if stored else "extracted"
        self.seconds["features"] += seconds
        self._features[key] = found
        return found

    def _wanted(self, name: SplitName, view: int) -> Wanted:
        if not self.model_digest:
            self.model_digest = digest_model(self.model, self.backbone, self.head)
        settings: dict[str, Any] = {
            "dtype": self.feature_type,
            "precision": self.engines.precision,
        }
        images: ImageSequence = self.subsets[name].split.images
        if view:
            settings |= {"view": view, "augmentation": asdict(self.augmentation)}
            images = AugmentedImages(
                images,
                self.augmentation,
                view,
                self.backbone.image_size,
                self.backbone.interpolation,
            )
        return Wanted(
            fingerprint(self.model_digest, self.digest_of(name), **settings),
            (len(images), *self.model.features.output_shape[1:]),
            self.backbone.name,
            lambda start: self._run_pipeline(images, start, self.subsets[name].split),
            self.feature_type,
            _label(name, view),
        )

    def _run_pipeline(
        self, images: ImageSequence, start: int, split: Split
    ) -> Iterator[Float32Array]:
        if self._pipeline is None:

            def probe() -> Probe:
                count = min(PROBE_IMAGES, len(images))
                rows = np.linspace(0, len(images) - 1, count).astype(np.int64)
                pixels = stack_resized(take_rows(images, rows), self.resizer)
                return Probe(pixels, split.labels[rows])

            forward = self.engines.choose(
                self.model.features, self.model_digest, probe, len(images) - start
            )
            self.events.emit("on_engine_chosen", self.engines.name, tuple(self.engines.trials))
            self._pipeline = Pipeline(forward, self.resizer, self.backbone.image_size)
        return self._pipeline.run(images, start)

    def _note_extraction(self, label: str, total: int, seconds: float) -> None:
        if self._pipeline is None:
            return
        profile = self._pipeline.take_profile()
        self.extractions.append(
            Extraction(
                label, self.engines.name, total, profile.batch_size, seconds, profile.seconds
            )
        )

    @property
    def resizer(self) -> Resizer:
        """Resizes pixels to the backbone's size, as the saved model does."""
        if self._resizer is None:
            self._resizer = make_resizer(self.model.resize)
        return self._resizer

    def digest_of(self, name: SplitName) -> str:
        """Return the SHA-256 of a subset's images."""
        images = self.subsets[name].split.images
        if id(images) not in self.digests:
            self.digests[id(images)] = digest_images(images)
        return self.digests[id(images)]

    def train_head(
        self,
        *,
        epochs: int,
        optimizer: keras.optimizers.Optimizer,
        batch_size: int = 32,
        name: str = "frozen",
    ) -> PhaseResult:
        """Train the head on stored features; the same as training through the frozen backbone.

        Args:
            epochs: Number of passes over the training images.
            optimizer: A fresh Keras optimizer.
            batch_size: Images in one step.
            name: Name of the phase.

        Returns:
            The history of the phase, also kept in ``phases``.

        Raises:
            TrainingError: If the loss stops being finite.
        """
        freeze(self.model.backbone)
        examples = {
            part: Examples(
                self._training_features() if part == "train" else self.features(part),
                self.subsets[part].split.labels,
                self.subsets[part].rows,
            )
            for part in ("train", "validation")
        }
        return self._fit(name, self.model.head, optimizer, epochs, batch_size, examples)

    def fine_tune(
        self,
        *,
        epochs: int,
        optimizer: keras.optimizers.Optimizer,
        unfreeze_blocks: int | Literal["all"],
        batch_size: int = 32,
        name: str = "fine-tune",
    ) -> PhaseResult:
        """Train the whole model with the last blocks unfrozen and batch normalisation held still.

        Args:
            epochs: Number of passes over the training images.
            optimizer: A fresh Keras optimizer.
            unfreeze_blocks: How many blocks of the backbone to train, counted from its output.
            batch_size: Images in one step.
            name: Name of the phase.

        Returns:
            The history of the phase, also kept in ``phases``.

        Raises:
            ConfigError: If the backbone has fewer blocks.
            TrainingError: If the loss stops being finite.
        """
        network = self.model.backbone
        unfreeze(network, self.backbone.blocks(network), unfreeze_blocks)
        before = batch_normalisation_state(network)
        self.fine_tuned = True
        examples = {
            part: Examples(
                self.subsets[part].split.images,
                self.subsets[part].split.labels,
                self.subsets[part].rows,
                self.resizer,
            )
            for part in ("train", "validation")
        }
        result = self._fit(name, self.model.logits, optimizer, epochs, batch_size, examples)
        after = batch_normalisation_state(network)
        if not all(np.array_equal(old, new) for old, new in zip(before, after, strict=True)):
            raise PluginError(
                f"Batch normalisation of backbone '{self.backbone.name}' moved in fine-tuning; it "
                f"must stay as pretrained. Does its build() return plain Keras layers?"
            )
        return result

    def predict(self, name: SplitName) -> tuple[Float32Array, Int64Array]:
        """Return the probabilities (N, classes) and the labels (N,) of a subset, in one pass."""
        import keras

        logits, labels = self.logits(name)
        return keras.ops.convert_to_numpy(keras.ops.softmax(logits)), labels

    def logits(self, name: SplitName) -> tuple[Float32Array, Int64Array]:
        """Return the logits, float32 (N, classes), and the labels (N,) of a subset, in one pass.

        Stored features go through the head; where the backbone was fine-tuned, the images go
        through the whole network.
        """
        subset = self.subsets[name]
        labels = subset.split.labels[subset.rows]
        if self.fine_tuned:
            batches = resized_batches(
                subset.split.images,
                subset.rows,
                self.resizer,
                guess_batch_size(self.backbone.image_size),
            )
            return np.concatenate([self.model.logits.predict_on_batch(b) for b in batches]), labels
        import keras

        stored = self.features(name)
        rows = [subset.rows[first : first + 4096] for first in range(0, len(subset.rows), 4096)]
        parts = (take_rows(stored, part).astype(np.float32, copy=False) for part in rows)
        found = [self.model.head(chunk, training=False) for chunk in parts]
        return np.concatenate([keras.ops.convert_to_numpy(part) for part in found]), labels

    def _training_features(self) -> Features | Stacked:
        views = [self.features("train", view) for view in range(self.views + 1)]
        return Stacked(views) if self.views else views[0]

    def _fit(
        self,
        name: str,
        model: Any,
        optimizer: Any,
        epochs: int,
        batch_size: int,
        examples: Mapping[str, Examples],
    ) -> PhaseResult:
        if epochs < 1 or batch_size < 1:
            raise ConfigError(
                f"A phase needs epochs and batch_size of 1 or more; received epochs={epochs}, "
                f"batch_size={batch_size}."
            )
        train, validation = examples["train"], examples["validation"]
        trainable, _ = count_parameters(model)
        phase = Phase(
            name=name,
            epochs=epochs,
            steps=-(-len(train.rows) // batch_size),
            num_images=len(train.rows),
            trainable_parameters=trainable,
            frozen_parameters=sum(count_parameters(self.model.model)) - trainable,
        )
        self.events.emit("on_phase_begin", phase)
        begin = time.monotonic()
        fitter = Fitter(model, optimizer, batch_size)
        history: dict[str, list[float]] = {}
        first_epoch = sum(result.phase.epochs for result in self.phases)
        for epoch in range(1, epochs + 1):
            metrics = self._epoch(fitter, phase, epoch, first_epoch, train, validation)
            for key, value in metrics.items():
                history.setdefault(key, []).append(value)
        seconds = time.monotonic() - begin
        self.seconds["training"] += seconds
        result = PhaseResult(phase, history, seconds)
        self.phases.append(result)
        self.events.emit("on_phase_end", result)
        return result

    def _epoch(
        self,
        fitter: Fitter,
        phase: Phase,
        epoch: int,
        first_epoch: int,
        train: Examples,
        validation: Examples,
    ) -> dict[str, float]:
        begin = time.monotonic()
        metrics = fitter.train_epoch(
            train,
            self.seed,
            first_epoch + epoch,
            lambda done, seconds: self.events.emit(
                "on_epoch_progress", phase, epoch, done, phase.num_images, seconds
            ),
        )
        held_out = fitter.evaluate(validation)
        metrics |= {f"val_{key}": value for key, value in held_out.items()}
        self.events.emit("on_epoch_end", phase, epoch, metrics, time.monotonic() - begin)
        return metrics


def _label(name: str, view: int) -> str:
    return f"{name}, view {view}" if view else name
