"""Session: the data, the model and the training tools that a Workflow works with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tlkit.augmentation import Augmentation
from tlkit.backbone import Backbone
from tlkit.block_rates import BlockRates
from tlkit.checkpoint import Checkpoints
from tlkit.engine_choice import EngineChooser
from tlkit.errors import ConfigError, PluginError
from tlkit.events import Events
from tlkit.feature_filling import Features, FeatureType
from tlkit.feature_source import ExtractionLog, FeatureSource
from tlkit.features import FeatureStore
from tlkit.fine_tuning_inputs import frozen_block_inputs, make_preparation, pixel_inputs
from tlkit.fingerprint import KnownDigests, digest_model
from tlkit.folded_normalisation import folded_normalisation
from tlkit.freezing import (
    blocks_of,
    check_block_count,
    computing_in,
    freeze,
    movable_groups,
    normalisation_held_still,
    unfreeze,
)
from tlkit.head import ClosedFormHead, Head
from tlkit.losses import ClassWeight, Objective, class_weights
from tlkit.model import AssembledModel, count_parameters
from tlkit.phase_fitting import PhaseFitting, warn_if_worse
from tlkit.ray_extraction import RayExtraction
from tlkit.records import Float32Array, Int64Array, PhaseResult
from tlkit.replicas import Replicas
from tlkit.resizing import Resizer, make_resizer
from tlkit.runtime import gains_from_bfloat16
from tlkit.session_answers import head_inputs_of, logits_of
from tlkit.session_features import make_source, training_features
from tlkit.solved_phase import solve_phase
from tlkit.subsets import SplitName, Subset
from tlkit.test_time_augmentation import PLAIN, FixedView, TestTimeAugmentation
from tlkit.training_examples import Examples

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
            self._source = make_source(self, trunk.features, trunk.digest)
        return self._source.get(name, self.subsets[name].split, self.digest_of(name), view, fixed)

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
            self.model, result = solve_phase(self, self.head, name, class_weight, all_views)
            return self._note(result)
        examples = {
            part: Examples(
                training_features(self, all_views) if part == "train" else self.features(part),
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
        rates = None
        if layer_decay != 1 or unfreeze_every:
            groups = movable_groups(self.model.head, network, blocks)
            rates = BlockRates(groups, layer_decay, unfreeze_every)
            rates.set_on(optimizer)
        if mixed_precision == "auto":
            mixed_precision = gains_from_bfloat16()
        given = None
        if unfreeze_blocks != "all" and not (mixup or cutmix) and (views or not augment):
            given = frozen_block_inputs(self, blocks, unfreeze_blocks, views)
        # Where views cannot be stored, new ones take their place.
        augment = augment or views > 0
        model, examples = given if given is not None else pixel_inputs(self)
        generator = keras.random.SeedGenerator(self.seed)
        prepare = make_preparation(self, augment, generator) if given is None else None
        self.fine_tuned = True
        policy = "mixed_bfloat16" if mixed_precision else "float32"
        with normalisation_held_still(self.backbone, network):
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
            warn_if_worse(self.phases, self.events)
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
        return head_inputs_of(self, name, rows)

    def logits(self, name: SplitName) -> tuple[Float32Array, Int64Array]:
        """Return the logits, float32 (N, classes), and the labels (N,) of a subset, in one pass.

        Stored features go through the head; where the backbone was fine-tuned, the images go
        through the whole network.
        """
        subset = self.subsets[name]
        return logits_of(self, name), subset.split.labels[subset.rows]

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
