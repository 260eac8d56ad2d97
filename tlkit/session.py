"""Session: the data, the model and the training tools that a Workflow works with."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tlkit.augmentation import Augmentation, AugmentedImages
from tlkit.averaging import averaged_weights
from tlkit.backbone import Backbone
from tlkit.batch_augmentation import make_augment
from tlkit.block_rates import BlockRates
from tlkit.engine_choice import PROBE_IMAGES, EngineChooser, Probe
from tlkit.errors import ConfigError, PluginError
from tlkit.events import Events
from tlkit.extraction import Pipeline, guess_batch_size, resized_batches
from tlkit.features import Features, FeatureStore, FeatureType, Wanted
from tlkit.fingerprint import digest_images, digest_model, fingerprint
from tlkit.fitting import Examples, Fitter, Prepare
from tlkit.head import ClosedFormHead, Head
from tlkit.losses import ClassWeight, Objective, class_weights
from tlkit.model import (
    AssembledModel,
    assemble,
    batch_normalisation_state,
    computing_in,
    count_parameters,
    freeze,
    movable_groups,
    unfreeze,
)
from tlkit.records import (
    Extraction,
    Float32Array,
    ImageSequence,
    Int64Array,
    LabelledFeatures,
    Phase,
    PhaseResult,
    Split,
)
from tlkit.resizing import Resizer, make_resizer, stack_resized
from tlkit.rows import Stacked, take_rows
from tlkit.runtime import gains_from_bfloat16

if TYPE_CHECKING:
    import keras

# Images whose features go through the head in one call.
PREDICTION_BATCH = 4096

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
        class_names: The class names in the order of the labels.
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
    class_names: tuple[str, ...]
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

    def steps_per_epoch(self, batch_size: int) -> int:
        """Return the number of batches in one pass over the training images."""
        return -(-len(self.subsets["train"].rows) // batch_size)

    @property
    def validates_on_test(self) -> bool:
        """Whether the validation images are the test images, so that nothing may be chosen."""
        return self.subsets["validation"] is self.subsets["test"]

    def train_head(
        self,
        *,
        epochs: int,
        optimizer: keras.optimizers.Optimizer,
        batch_size: int = 32,
        class_weight: ClassWeight = "none",
        callbacks: Sequence[keras.callbacks.Callback] = (),
        name: str = "frozen",
    ) -> PhaseResult:
        """Train the head on stored features; the same as training through the frozen backbone.

        A ``ClosedFormHead`` is solved instead: ``epochs``, ``optimizer``, ``batch_size`` and
        ``callbacks`` are not used then.

        Args:
            epochs: Number of passes over the training images.
            optimizer: A fresh Keras optimizer.
            batch_size: Images in one step.
            class_weight: Factors of the loss by class; see ``tlkit.losses.class_weights()``.
            callbacks: Keras callbacks; they are told of the beginning and end of the training and
                of each epoch. The model that they see is the head.
            name: Name of the phase.

        Returns:
            The history of the phase, also kept in ``phases``.

        Raises:
            TrainingError: If the loss stops being finite.
        """
        freeze(self.model.backbone)
        if isinstance(self.head, ClosedFormHead):
            return self._solve(self.head, name, class_weight)
        examples = {
            part: Examples(
                self._training_features() if part == "train" else self.features(part),
                self.subsets[part].split.labels,
                self.subsets[part].rows,
            )
            for part in ("train", "validation")
        }
        return self._fit(
            name,
            self.model.head,
            optimizer,
            epochs,
            batch_size,
            examples,
            objective=self._objective(class_weight=class_weight),
            callbacks=callbacks,
        )

    def fine_tune(
        self,
        *,
        epochs: int,
        optimizer: keras.optimizers.Optimizer,
        unfreeze_blocks: int | Literal["all"],
        batch_size: int = 32,
        layer_decay: float = 1.0,
        unfreeze_every: int = 0,
        label_smoothing: float = 0.0,
        class_weight: ClassWeight = "none",
        augment: bool = False,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        mixed_precision: bool | Literal["auto"] = "auto",
        callbacks: Sequence[keras.callbacks.Callback] = (),
        name: str = "fine-tune",
    ) -> PhaseResult:
        """Train the whole model with the last blocks unfrozen and batch normalisation held still.

        Args:
            epochs: Number of passes over the training images.
            optimizer: A fresh Keras optimizer. With ``use_ema``, validation and the final weights
                are those of the moving average.
            unfreeze_blocks: How many blocks of the backbone to train, counted from its output.
            batch_size: Images in one step.
            layer_decay: Each block's updates are those of the block above it times this, above 0
                up to 1; the head's are whole.
            unfreeze_every: Every so many epochs one more block begins to move, from the output; 0
                for all at once.
            label_smoothing: The share of a label that is spread over all classes, 0 to below 1.
            class_weight: Factors of the loss by class; see ``tlkit.losses.class_weights()``.
            augment: Whether each epoch sees a new view of each image, as ``augmentation`` says.
            mixup: Strength of MixUp, 0 for none; see ``tlkit.losses.Objective``.
            cutmix: Strength of CutMix, 0 for none.
            mixed_precision: Whether the backbone computes in bfloat16 and keeps float32 weights;
                ``"auto"`` where the device gains from it.
            callbacks: Keras callbacks; they are told of the beginning and end of the training and
                of each epoch. The model that they see takes resized pixels and gives logits.
            name: Name of the phase.

        Returns:
            The history of the phase, also kept in ``phases``.

        Raises:
            ConfigError: If the backbone has fewer blocks, or the optimizer has loss scaling.
            TrainingError: If the loss stops being finite.
        """
        import keras

        if not self.model.head.trainable_variables:
            raise ConfigError(
                f"The head '{self.head.name}' has no weights that fine-tuning could train. Use "
                f"another head, such as 'logistic' or 'dense', or set fine_tune_epochs = 0."
            )
        network = self.model.backbone
        blocks = self.backbone.blocks(network)
        unfreeze(network, blocks, unfreeze_blocks)
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
        rates = None
        if layer_decay != 1 or unfreeze_every:
            groups = movable_groups(self.model.head, network, blocks)
            rates = BlockRates(groups, layer_decay, unfreeze_every)
            rates.set_on(optimizer)
        if mixed_precision == "auto":
            mixed_precision = gains_from_bfloat16()
        whole = keras.Model(
            self.model.features.inputs, self.model.head(self.model.features.outputs[0])
        )
        with computing_in("mixed_bfloat16" if mixed_precision else "float32", network):
            result = self._fit(
                name,
                whole,
                optimizer,
                epochs,
                batch_size,
                examples,
                objective=self._objective(label_smoothing, class_weight, mixup, cutmix),
                prepare=self._preparation(augment),
                rates=rates,
                callbacks=callbacks,
            )
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
        starts = range(0, len(subset.rows), PREDICTION_BATCH)
        rows = [subset.rows[first : first + PREDICTION_BATCH] for first in starts]
        parts = (take_rows(stored, part).astype(np.float32, copy=False) for part in rows)
        found = [self.model.head(chunk, training=False) for chunk in parts]
        return np.concatenate([keras.ops.convert_to_numpy(part) for part in found]), labels

    def _training_features(self) -> Features | Stacked:
        views = [self.features("train", view) for view in range(self.views + 1)]
        return Stacked(views) if self.views else views[0]

    def _solve(self, head: ClosedFormHead, name: str, class_weight: ClassWeight) -> PhaseResult:
        if head.chooses and self.validates_on_test:
            raise ConfigError(
                f"The head '{head.name}' would choose its settings by the test set: [run] "
                f"validation = 'test'. Set them all in [head], or validation to a share like 0.1."
            )
        count = len(self.class_names)
        parts = {
            part: LabelledFeatures(*self._labelled_features(part), count)
            for part in ("train", "validation")
        }
        weights = self._objective(class_weight=class_weight).class_weight
        phase = Phase(
            name=name,
            epochs=1,
            steps=0,
            num_images=len(self.subsets["train"].rows),
            trainable_parameters=0,
            frozen_parameters=sum(count_parameters(self.model.backbone)),
        )
        self.events.emit("on_phase_begin", phase)
        begin = time.monotonic()
        network, chosen = head.solve(parts["train"], parts["validation"], weights)
        self.model = assemble(
            self.backbone, head, count, network=self.model.backbone, classifier=network
        )
        metrics: dict[str, float] = {}
        for part, prefix in (("train", ""), ("validation", "val_")):
            loss, accuracy = _figures(network, parts[part])
            metrics |= {f"{prefix}loss": loss, f"{prefix}accuracy": accuracy}
        seconds = time.monotonic() - begin
        self.seconds["training"] += seconds
        phase = replace(phase, trainable_parameters=sum(count_parameters(network)))
        self.events.emit("on_epoch_end", phase, 1, metrics, seconds)
        history = {key: [value] for key, value in metrics.items()}
        result = PhaseResult(phase, history, seconds, chosen=dict(chosen))
        self.phases.append(result)
        self.events.emit("on_phase_end", result)
        return result

    def _labelled_features(self, name: SplitName) -> tuple[Float32Array, Int64Array]:
        subset = self.subsets[name]
        views = range(self.views + 1 if name == "train" else 1)
        parts = [take_rows(self.features(name, view), subset.rows) for view in views]
        features = np.concatenate(parts) if len(parts) > 1 else parts[0]
        labels = np.tile(subset.split.labels[subset.rows], len(parts))
        return features.astype(np.float32, copy=False), labels

    def _objective(
        self,
        label_smoothing: float = 0.0,
        class_weight: ClassWeight = "none",
        mixup: float = 0.0,
        cutmix: float = 0.0,
    ) -> Objective:
        train = self.subsets["train"]
        weights = class_weights(class_weight, train.split.labels[train.rows], self.class_names)
        count = len(self.class_names)
        return Objective(count, label_smoothing, weights, mixup, cutmix, self.seed)

    def _preparation(self, augment: bool) -> Prepare:
        """Return what makes a batch of images ready for the network, while TensorFlow traces."""
        size = self.backbone.image_size
        draw = make_augment(self.augmentation, size, self.backbone.interpolation, self.seed)

        def prepare(images: Any, training: bool) -> Any:
            augmented = augment and training
            larger = max(images.shape[1:3]) > size
            # Views of larger images would alias; those of smaller ones are drawn from all pixels.
            if images.shape[1:3] != (size, size) and (larger or not augmented):
                images = self.model.resize(images)
            return draw(images) if augmented else images

        return prepare

    def _fit(
        self,
        name: str,
        model: Any,
        optimizer: Any,
        epochs: int,
        batch_size: int,
        examples: Mapping[str, Examples],
        *,
        objective: Objective,
        prepare: Prepare | None = None,
        rates: BlockRates | None = None,
        callbacks: Sequence[Any] = (),
    ) -> PhaseResult:
        import keras

        if epochs < 1 or batch_size < 1:
            raise ConfigError(
                f"A phase needs epochs and batch_size of 1 or more; received epochs={epochs}, "
                f"batch_size={batch_size}."
            )
        train = examples["train"]
        trainable, _ = count_parameters(model)
        phase = Phase(
            name=name,
            epochs=epochs,
            steps=self.steps_per_epoch(batch_size),
            num_images=len(train.rows),
            trainable_parameters=trainable,
            frozen_parameters=sum(count_parameters(self.model.model)) - trainable,
        )
        self.events.emit("on_phase_begin", phase)
        begin = time.monotonic()
        fitter = Fitter(model, optimizer, batch_size, objective, prepare)
        model.stop_training = False
        followers = keras.callbacks.CallbackList(
            list(callbacks), model=model, epochs=epochs, steps=phase.steps, verbose=0
        )
        followers.on_train_begin()
        history: dict[str, list[float]] = {}
        for epoch in range(1, epochs + 1):
            if rates is not None:
                rates.begin_epoch(epoch)
            followers.on_epoch_begin(epoch - 1)
            metrics = self._epoch(fitter, phase, epoch, examples, followers)
            for key, value in metrics.items():
                history.setdefault(key, []).append(value)
            if model.stop_training:
                break
        optimizer.finalize_variable_values(model.trainable_variables)
        followers.on_train_end()
        seconds = time.monotonic() - begin
        self.seconds["training"] += seconds
        result = PhaseResult(phase, history, seconds, _kept_epoch(callbacks))
        self.phases.append(result)
        self.events.emit("on_phase_end", result)
        return result

    def _epoch(
        self,
        fitter: Fitter,
        phase: Phase,
        epoch: int,
        examples: Mapping[str, Examples],
        followers: Any,
    ) -> dict[str, float]:
        begin = time.monotonic()
        first_epoch = sum(result.phase.epochs for result in self.phases)
        metrics = fitter.train_epoch(
            examples["train"],
            self.seed,
            first_epoch + epoch,
            lambda done, seconds: self.events.emit(
                "on_epoch_progress", phase, epoch, done, phase.num_images, seconds
            ),
        )
        # Callbacks that keep weights, such as EarlyStopping, keep the averages.
        with averaged_weights(fitter.optimizer, fitter.model.trainable_variables):
            held_out = fitter.evaluate(examples["validation"])
            metrics |= {f"val_{key}": value for key, value in held_out.items()}
            followers.on_epoch_end(epoch - 1, metrics)
        self.events.emit("on_epoch_end", phase, epoch, metrics, time.monotonic() - begin)
        return metrics


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


def _kept_epoch(callbacks: Sequence[Any]) -> int | None:
    """Return the epoch whose weights an EarlyStopping has put back, from 1."""
    import keras

    for callback in callbacks:
        if isinstance(callback, keras.callbacks.EarlyStopping) and callback.restore_best_weights:
            return int(callback.best_epoch) + 1
    return None


def _label(name: str, view: int) -> str:
    return f"{name}, view {view}" if view else name
