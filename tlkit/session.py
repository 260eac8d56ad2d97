"""Session: the data, the model and the training tools that a Workflow works with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tlkit.augmentation import Augmentation
from tlkit.backbone import Backbone
from tlkit.batch_augmentation import make_augment
from tlkit.block_rates import BlockRates
from tlkit.checkpoint import Checkpoints
from tlkit.engine_choice import EngineChooser
from tlkit.errors import ConfigError, PluginError
from tlkit.events import Events
from tlkit.extraction import guess_batch_size, resized_batches
from tlkit.feature_filling import Features, FeatureType
from tlkit.feature_source import ExtractionLog, FeatureSource
from tlkit.features import FeatureStore, free_bytes
from tlkit.fingerprint import KnownDigests, digest_model, fingerprint
from tlkit.fitting import Examples, Prepare
from tlkit.folded_normalisation import folded_normalisation
from tlkit.head import ClosedFormHead, Head
from tlkit.head_solving import PREDICTION_BATCH, solve_head
from tlkit.losses import ClassWeight, Objective, class_weights
from tlkit.model import (
    AssembledModel,
    assemble,
    batch_normalisation_state,
    blocks_of,
    check_block_count,
    computing_in,
    count_parameters,
    freeze,
    movable_groups,
    pool,
    run_backbone,
    split_network,
    unfreeze,
)
from tlkit.out_of_memory import in_halves
from tlkit.phase_fitting import PhaseFitting
from tlkit.plugin_calls import describe_plugin
from tlkit.ray_extraction import RayExtraction
from tlkit.records import (
    Float32Array,
    Int64Array,
    LabelledFeatures,
    PhaseResult,
)
from tlkit.replicas import Replicas
from tlkit.resizing import Resizer, make_resizer
from tlkit.rows import Stacked, take_rows
from tlkit.runtime import gains_from_bfloat16
from tlkit.subsets import SplitName, Subset
from tlkit.test_time_augmentation import PLAIN, FixedView, TestTimeAugmentation

if TYPE_CHECKING:
    import keras


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
        test_time_augmentation: The views of each image that the model averages over.
        phases: What has been trained so far.
        log: Where features came from, and how long that took.
        training_seconds: Wall-clock seconds spent on training.
        fine_tuned: Whether the backbone has changed, so that stored features no longer fit it.
        digests: Those of the images that are known already.
        checkpoints: Where the state of the training is kept.
        cluster: What computes features in place of this process; None for nothing.
        replicas: Devices and machines that share each batch of fine-tuning; None for one device.
        epochs_before: Epochs of the runs that this one starts from; the order of the images goes on
            after theirs.
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
    test_time_augmentation: TestTimeAugmentation = field(default_factory=TestTimeAugmentation)
    phases: list[PhaseResult] = field(default_factory=list)
    log: ExtractionLog = field(default_factory=ExtractionLog)
    training_seconds: float = 0.0
    fine_tuned: bool = False
    digests: KnownDigests = field(default_factory=KnownDigests)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    cluster: RayExtraction | None = None
    replicas: Replicas | None = None
    epochs_before: int = 0
    _source: FeatureSource | None = None
    _resizer: Resizer | None = None

    def features(self, name: SplitName, view: int = 0, fixed: FixedView = PLAIN) -> Features:
        """Return the features of all images of a subset's split: (N, ...), as they are stored.

        They come from the store, or are computed and stored.

        Args:
            name: The subset.
            view: 0 for the images as they are, else the number of an augmented view.
            fixed: The view of these that the model averages over.
        """
        if self.fine_tuned:
            raise PluginError("Stored features belong to the frozen backbone; it was fine-tuned.")
        if self._source is None:
            trunk = self.model.trunk
            trunk.digest = trunk.digest or digest_model(self.model, self.backbone, self.head)
            self._source = self._make_source(trunk.features, trunk.digest)
        return self._source.get(name, self.subsets[name].split, self.digest_of(name), view, fixed)

    def _make_source(self, model: keras.Model, digest: str, **changes: Any) -> FeatureSource:
        settings: dict[str, Any] = {
            "backbone": self.backbone,
            "store": self.store,
            "engines": self.engines,
            "events": self.events,
            "resizer": self.resizer,
            "log": self.log,
            "augmentation": self.augmentation,
            "feature_type": self.feature_type,
            "cluster": self.cluster,
        }
        return FeatureSource(model, digest, **(settings | changes))

    @property
    def resizer(self) -> Resizer:
        """Resizes pixels to the backbone's size, as the saved model does."""
        if self._resizer is None:
            self._resizer = make_resizer(self.model.resize)
        return self._resizer

    def digest_of(self, name: SplitName) -> str:
        """Return the SHA-256 of a subset's images."""
        return self.digests.of(self.subsets[name].split.images)

    def steps_per_epoch(self, batch_size: int) -> int:
        """Return the number of batches in one pass over the training images."""
        return -(-len(self.subsets["train"].rows) // batch_size)

    @property
    def validates_on_test(self) -> bool:
        """Whether the validation images are the test images, so that nothing may be chosen."""
        return self.subsets["validation"].split is self.subsets["test"].split

    @property
    def seconds(self) -> dict[str, float]:
        """Wall-clock seconds spent on ``features``, ``training`` and ``checkpoints``."""
        return {
            "features": self.log.seconds,
            "training": self.training_seconds,
            "checkpoints": self.checkpoints.seconds,
        }

    def train_head(
        self,
        *,
        epochs: int,
        optimizer: keras.optimizers.Optimizer,
        batch_size: int = 32,
        class_weight: ClassWeight = "none",
        callbacks: Sequence[keras.callbacks.Callback] = (),
        all_views: bool = True,
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
            all_views: Whether to train on the views of the test-time augmentation too; not worth
                their extraction where fine-tuning follows.
            name: Name of the phase.

        Returns:
            The history of the phase, also kept in ``phases``.

        Raises:
            TrainingError: If the loss stops being finite.
        """
        freeze(self.model.backbone)
        if isinstance(self.head, ClosedFormHead):
            return self._solve(self.head, name, class_weight, all_views)
        examples = {
            part: Examples(
                self._training_features(all_views) if part == "train" else self.features(part),
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

    def check_fine_tuning(
        self, unfreeze_blocks: int | Literal["all"], batch_size: int | None = None
    ) -> None:
        """Check what ``fine_tune()`` needs, before anything is computed.

        Raises:
            ConfigError: If the backbone has fewer blocks, the head nothing to train, or a batch
                fewer images than there are devices.
        """
        if self.replicas is not None and batch_size is not None:
            self.replicas.check_batch_size(batch_size)
            self.replicas.check_layers(self.model.head)
        check_block_count(blocks_of(self.backbone, self.model.backbone), unfreeze_blocks)
        if not self.model.head.trainable_variables:
            raise ConfigError(
                f"The head '{self.head.name}' has no weights that fine-tuning could train. Use "
                f"another head, such as 'logistic' or 'dense', or set fine_tune_epochs = 0."
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
        views: int = 0,
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
                Without it, and without mixing, what the frozen blocks make of each image is stored,
                and only the others run in each epoch.
            views: In place of new views, so many views of each image are stored in that way beside
                the image itself, and each epoch takes one of them at random. Where they cannot be
                stored, new views are drawn, and a warning says so.
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

        self.check_fine_tuning(unfreeze_blocks)
        network = self.model.backbone
        blocks = blocks_of(self.backbone, network)
        unfreeze(network, blocks, unfreeze_blocks)
        before = batch_normalisation_state(network)
        rates = None
        if layer_decay != 1 or unfreeze_every:
            groups = movable_groups(self.model.head, network, blocks)
            rates = BlockRates(groups, layer_decay, unfreeze_every)
            rates.set_on(optimizer)
        if mixed_precision == "auto":
            mixed_precision = gains_from_bfloat16()
        given = None
        if unfreeze_blocks != "all" and not (mixup or cutmix) and (views or not augment):
            given = self._after_frozen_blocks(blocks, unfreeze_blocks, views)
        # Where views cannot be stored, new ones take their place.
        augment = augment or views > 0
        model, examples = given if given is not None else self._from_pixels()
        generator = keras.random.SeedGenerator(self.seed)
        prepare = self._preparation(augment, generator) if given is None else None
        self.fine_tuned = True
        policy = "mixed_bfloat16" if mixed_precision else "float32"
        with computing_in(policy, network), folded_normalisation(network.layers):
            result = self._fit(
                name,
                model,
                optimizer,
                epochs,
                batch_size,
                examples,
                objective=self._objective(label_smoothing, class_weight, mixup, cutmix),
                prepare=prepare,
                rates=rates,
                callbacks=callbacks,
                random_state=[generator.state],
                shared=self.replicas is not None,
            )
        self._warn_if_worse(result)
        after = batch_normalisation_state(network)
        if not all(np.array_equal(old, new) for old, new in zip(before, after, strict=True)):
            raise PluginError(
                f"{describe_plugin(self.backbone)}: its batch normalisation moved in fine-tuning; "
                f"it must stay as pretrained. Does its build() return plain Keras layers?"
            )
        return result

    def predict(self, name: SplitName) -> tuple[Float32Array, Int64Array]:
        """Return the probabilities (N, classes) and the labels (N,) of a subset, in one pass."""
        import keras

        logits, labels = self.logits(name)
        return keras.ops.convert_to_numpy(keras.ops.softmax(logits)), labels

    def features_of(self, name: SplitName, rows: Int64Array) -> Float32Array:
        """Return what the head receives for some images, float32 (len(rows), ...).

        Stored features are read; where the backbone was fine-tuned, the images go through it.

        Args:
            name: The subset.
            rows: int64 array (1 or more,) of positions in the subset, from 0.
        """
        subset = self.subsets[name]
        chosen = subset.rows[rows]
        if not self.fine_tuned:
            stored: Float32Array = take_rows(self.features(name), chosen)
            return stored.astype(np.float32, copy=False)
        size = guess_batch_size(self.backbone.image_size)
        batches = resized_batches(subset.split.images, chosen, self.resizer, size)
        return self._predict(self.model.features, batches)

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
            return self._predict(self.model.logits, batches), labels
        import keras

        starts = range(0, len(subset.rows), PREDICTION_BATCH)
        rows = [subset.rows[first : first + PREDICTION_BATCH] for first in starts]
        total: Any = np.float32(0)
        for fixed in self.test_time_augmentation.views:
            stored = self.features(name, fixed=fixed)
            parts = (take_rows(stored, part).astype(np.float32, copy=False) for part in rows)
            found = [self.model.head(chunk, training=False) for chunk in parts]
            total += np.concatenate([keras.ops.convert_to_numpy(part) for part in found])
        return total / np.float32(len(self.test_time_augmentation.views)), labels

    @staticmethod
    def _predict(model: keras.Model, batches: Iterator[Any]) -> Float32Array:
        """Return what a model makes of resized pixels, float32 (N, ...)."""
        found = [in_halves(model.predict_on_batch, batch, lambda size: None) for batch in batches]
        return np.concatenate(found)

    def _training_views(self, all_views: bool) -> list[Features]:
        return [
            self.features("train", view, fixed)
            for view in range(self.views + 1)
            for fixed in (self.test_time_augmentation.views if all_views else (PLAIN,))
        ]

    def _training_features(self, all_views: bool) -> Features | Stacked:
        views = self._training_views(all_views)
        return Stacked(views) if len(views) > 1 else views[0]

    def _solve(
        self, head: ClosedFormHead, name: str, class_weight: ClassWeight, all_views: bool
    ) -> PhaseResult:
        if head.chooses and self.validates_on_test:
            raise ConfigError(
                f"The head '{head.name}' would choose its settings by the test set: [run] "
                f"validation = 'test'. Set them all in [head], or validation to a share like 0.1."
            )
        number = len(self.phases)
        restored = self.checkpoints.load_solved(number)
        if restored is not None:
            network, result = restored
            self.events.emit("on_phase_begin", result.phase)
            metrics = {key: values[0] for key, values in result.history.items()}
            self.events.emit(
                "on_epoch_end", result.phase, 1, metrics, result.seconds, restored=True
            )
        else:
            parts = {
                part: LabelledFeatures(
                    *self._labelled_features(part, all_views), len(self.class_names)
                )
                for part in ("train", "validation")
            }
            network, result = solve_head(
                head,
                name,
                parts,
                self._objective(class_weight=class_weight).class_weight,
                len(self.subsets["train"].rows),
                sum(count_parameters(self.model.backbone)),
                self.events,
                self.seed,
            )
            self.checkpoints.save_solved(number, network, result)
        self.model = assemble(
            self.backbone,
            head,
            len(self.class_names),
            classifier=network,
            views=self.test_time_augmentation.views,
            trunk=self.model.trunk,
        )
        return self._note(result)

    def _labelled_features(
        self, name: SplitName, all_views: bool
    ) -> tuple[Float32Array, Int64Array]:
        subset = self.subsets[name]
        views = self._training_views(all_views) if name == "train" else [self.features(name)]
        parts = [take_rows(view, subset.rows) for view in views]
        features = np.concatenate(parts) if len(parts) > 1 else parts[0]
        labels = np.tile(subset.split.labels[subset.rows], len(parts))
        return features.astype(np.float32, copy=False), labels

    def _warn_if_worse(self, result: PhaseResult) -> None:
        if len(self.phases) < 2:
            return
        before, now = (item.figures().get("val_loss") for item in self.phases[-2:])
        if before is not None and now is not None and now > before:
            self.events.warnings.append(
                f"The phase {result.phase.name} left the validation loss higher than it was: "
                f"{before:.3f} before, {now:.3f} after. Train longer, at a lower learning rate, or "
                f"unfreeze fewer blocks."
            )

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

    def _from_pixels(self) -> tuple[Any, dict[str, Examples]]:
        """Return the network from resized pixels to logits, and the images for it."""
        import keras

        features = self.model.features
        whole = keras.Model(features.inputs, self.model.head(features.outputs[0]))
        return whole, {
            part: Examples(subset.split.images, subset.split.labels, subset.rows, self.resizer)
            for part, subset in self.subsets.items()
            if part != "test"
        }

    def _after_frozen_blocks(
        self, blocks: list[Any], unfrozen: int, views: int
    ) -> tuple[Any, dict[str, Examples]] | None:
        """Return the network after its frozen blocks, and what these make of the images.

        That is computed once and stored, as the whole backbone's features are. None where the
        network cannot be cut there, or the store's disk is too small.
        """
        import keras

        parts = split_network(self.model.backbone, blocks, unfrozen)
        if parts is None:
            if views:
                self.events.warnings.append(
                    f"New views are drawn each epoch instead of {views} stored ones: "
                    f"{self.backbone.name} cannot be cut in front of its last {unfrozen} blocks."
                )
            return None
        trunk, tail = parts
        size, count = self.backbone.image_size, len(blocks) - unfrozen
        place = len(trunk.layers)
        pixels = keras.Input((size, size, 3))
        source = self._make_source(
            keras.Model(pixels, run_backbone(self.backbone, trunk, pixels)),
            fingerprint(digest_model(self.model, self.backbone, self.head), "", layers=place),
            what=f"{count} blocks",
            reference_engine=True,
        )
        numbers: dict[SplitName, range] = {"train": range(views + 1), "validation": range(1)}
        wanted = {
            (id(self.subsets[part].split.images), view): source.missing_bytes(
                self.subsets[part].split, self.digest_of(part), view
            )
            for part in numbers
            for view in numbers[part]
        }
        missing, free = sum(wanted.values()), free_bytes(self.store.folder)
        if missing > free / 2:
            instead = f" New views are drawn instead of {views} stored ones." if views else ""
            self.events.warnings.append(
                f"What the frozen blocks give is computed anew each epoch: storing it would take "
                f"{missing / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in {self.store.folder}."
                f"{instead}"
            )
            return None
        maps = keras.Input(trunk.output_shape[1:])
        x = tail(maps)
        pooling = pool(self.head)
        model = keras.Model(maps, self.model.head(pooling(x) if pooling else x))
        examples: dict[str, Examples] = {}
        for part in numbers:
            subset, digest = self.subsets[part], self.digest_of(part)
            found = [source.get(part, subset.split, digest, view) for view in numbers[part]]
            inputs = Stacked(found) if len(found) > 1 else found[0]
            examples[part] = Examples(inputs, subset.split.labels, subset.rows)
        return model, examples

    def _preparation(self, augment: bool, generator: Any) -> Prepare:
        """Return what makes a batch of images ready for the network, while TensorFlow traces."""
        size = self.backbone.image_size
        draw = make_augment(self.augmentation, size, self.backbone.interpolation, generator)

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
        **settings: Any,
    ) -> PhaseResult:
        fitting = PhaseFitting(
            name,
            model,
            optimizer,
            epochs,
            batch_size,
            examples,
            events=self.events,
            seed=self.seed,
            epochs_before=self.epochs_before + sum(result.phase.epochs for result in self.phases),
            parameters=sum(
                count_parameters(self.model.backbone) + count_parameters(self.model.head)
            ),
            checkpoints=self.checkpoints,
            number=len(self.phases),
            replicas=self.replicas,
            **settings,
        )
        return self._note(fitting.run())

    def _note(self, result: PhaseResult) -> PhaseResult:
        self.training_seconds += result.seconds
        self.phases.append(result)
        self.events.emit("on_phase_end", result)
        return result
