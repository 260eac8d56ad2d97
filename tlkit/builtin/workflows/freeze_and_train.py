"""FreezeAndTrain: train the head on a frozen backbone, then fine-tune the last blocks if asked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, Literal

from tlkit import ClosedFormHead, ConfigError, Head, Workflow

if TYPE_CHECKING:
    import keras

    from tlkit import Session


# The keys of each range, the test of a number, and the range in words.
_RANGES: tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...] = (
    (("epochs", "batch_size"), lambda value: 1 <= value < math.inf, "1 or more"),
    (
        (
            "early_stopping",
            "fine_tune_epochs",
            "fine_tune_early_stopping",
            "unfreeze",
            "unfreeze_every",
            "fine_tune_views",
            "weight_decay",
            "clip_norm",
        ),
        lambda value: 0 <= value < math.inf,
        "0 or more",
    ),
    (("learning_rate", "fine_tune_learning_rate"), lambda value: 0 < value < math.inf, "above 0"),
    (("warmup", "ema", "label_smoothing"), lambda value: 0 <= value < 1, "0 to below 1"),
    (("mixup", "cutmix"), lambda value: 0 <= value <= 1, "0 to 1"),
    (("layer_decay",), lambda value: 0 < value <= 1, "above 0, up to 1"),
)


@dataclass(eq=False, repr=False)
class FreezeAndTrain(Workflow):
    """Train the head on a frozen backbone, then optionally fine-tune the last blocks.

    The head is trained with Adam, the fine-tuning is done with AdamW.

    Attributes:
        epochs: Epochs of the frozen phase, 1 or more.
        batch_size: Images in one step, 1 or more.
        learning_rate: Of the frozen phase, above 0.
        early_stopping: The frozen phase ends after so many epochs without a lower validation
            loss, and the weights of the best epoch are put back; 0 for neither.
        class_weight: Factors of the loss in both phases: "none", "balanced" (in inverse
            proportion to the number of training images of the class), or a table of factors by
            class name.
        fine_tune_epochs: Epochs of the fine-tune phase; 0 leaves it out. The other keys below
            are about this phase.
        fine_tune_learning_rate: The highest learning rate, above 0.
        fine_tune_early_stopping: As ``early_stopping``.
        unfreeze: Blocks of the backbone to train, counted from its output, or "all".
        unfreeze_every: Every so many epochs one more block begins to move, from the output; 0
            for all at once.
        layer_decay: The updates of each block are those of the block above it times this,
            above 0 up to 1.
        schedule: "cosine" lets the learning rate fall to 0 along half a cosine.
        warmup: Share of the steps in which the learning rate rises from 0, 0 to below 1; with
            "cosine" only.
        weight_decay: Of the kernels, 0 or more, decoupled from the gradient and times the
            learning rate.
        clip_norm: Gradients whose norm over all weights is larger are scaled to it; 0 for
            never.
        ema: Momentum of the moving average of the weights, 0 up to below 1; 0 for none.
        label_smoothing: Share of each label that is spread over all classes, 0 to below 1.
        augment: Whether each epoch sees a new view of each image, drawn by the flip, crop and
            colour of [features].
        fine_tune_views: In place of new views, store so many views of each image as the frozen
            blocks see them, so that only the unfrozen ones run in each epoch; each epoch takes
            one of them or the image itself. For a number of blocks in ``unfreeze``, without
            mixing.
        mixup: Parameter of MixUp, 0 to 1; 0 for none.
        cutmix: Parameter of CutMix, 0 to 1; 0 for none. With both, each batch takes one.
        mixed_precision: Whether to compute in bfloat16; "auto" where the device gains from it.
    """

    name: ClassVar[str] = "freeze_and_train"

    epochs: int = 5
    batch_size: int = 32
    learning_rate: float = 1e-3
    early_stopping: int = 0
    class_weight: Literal["none", "balanced"] | dict[str, float] = "none"
    fine_tune_epochs: int = 0
    fine_tune_learning_rate: float = 3e-4
    fine_tune_early_stopping: int = 5
    unfreeze: int | Literal["all"] = "all"
    unfreeze_every: int = 0
    layer_decay: float = 0.9
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    ema: float = 0.0
    label_smoothing: float = 0.1
    augment: bool = True
    fine_tune_views: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0
    mixed_precision: bool | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: If one is out of range.
        """
        for keys, is_allowed, allowed in _RANGES:
            for key in keys:
                value = getattr(self, key)
                if (key, value) != ("unfreeze", "all") and not is_allowed(value):
                    raise ConfigError(f"[workflow] {key} = {value} is not allowed: {allowed}.")
        if self.fine_tune_views and (self.unfreeze == "all" or self.mixup or self.cutmix):
            raise ConfigError(
                f"[workflow] fine_tune_views = {self.fine_tune_views} needs frozen blocks and "
                f"unmixed images: a number in unfreeze, and mixup and cutmix 0. Without it, "
                f"augment = true draws new views each epoch."
            )
        self.fine_tunes = self.fine_tune_epochs > 0

    def idle_options(self, head: Head | None = None) -> tuple[str, ...]:
        """Return those of a phase that does not run, of steps without steps, and of new views.

        A head that is solved takes no steps, and stored views take the place of new ones. Keys that
        a subclass does not take are left out.
        """
        names = [field.name for field in fields(FreezeAndTrain)]
        idle = names[names.index("fine_tune_epochs") :] if not self.fine_tunes else []
        if self.fine_tunes and self.fine_tune_views:
            idle = ["augment"]
        if isinstance(head, ClosedFormHead):
            stepless = ["epochs", "learning_rate", "early_stopping"]
            idle = stepless + ([] if self.fine_tunes else ["batch_size"]) + idle
        return tuple(key for key in idle if key in self.options)

    def run(self, session: Session) -> None:
        """Run the frozen phase and, if it has epochs, the fine-tune phase.

        Raises:
            ConfigError: If early stopping would choose by the test set.
        """
        import keras

        if self.fine_tunes:
            session.check_fine_tuning(self.unfreeze, self.batch_size)
        stops = {"early_stopping": self.early_stopping}
        if self.fine_tunes:
            stops["fine_tune_early_stopping"] = self.fine_tune_early_stopping
        for key, patience in stops.items():
            if patience and session.validates_on_test:
                raise ConfigError(
                    f"[workflow] {key} = {patience} would choose the weights by the test set: "
                    f"[run] validation = 'test'. Set it to 0, or validation to a share such as 0.1."
                )
        session.train_head(
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer=keras.optimizers.Adam(self.learning_rate),
            class_weight=self.class_weight,
            callbacks=_stopping(self.early_stopping),
            all_views=not self.fine_tunes,
        )
        if self.fine_tunes:
            session.fine_tune(
                epochs=self.fine_tune_epochs,
                batch_size=self.batch_size,
                unfreeze_blocks=self.unfreeze,
                unfreeze_every=self.unfreeze_every,
                layer_decay=self.layer_decay,
                optimizer=self._optimizer(session.steps_per_epoch(self.batch_size)),
                label_smoothing=self.label_smoothing,
                class_weight=self.class_weight,
                augment=self.augment,
                views=self.fine_tune_views,
                mixup=self.mixup,
                cutmix=self.cutmix,
                mixed_precision=self.mixed_precision,
                callbacks=_stopping(self.fine_tune_early_stopping),
            )

    def _optimizer(self, steps_per_epoch: int) -> keras.optimizers.Optimizer:
        import keras

        rate = self.fine_tune_learning_rate
        if self.schedule == "cosine":
            steps = self.fine_tune_epochs * steps_per_epoch
            rising = int(steps * self.warmup)
            rate = keras.optimizers.schedules.CosineDecay(
                initial_learning_rate=0.0 if rising else rate,
                decay_steps=max(steps - rising, 1),
                warmup_target=rate if rising else None,
                warmup_steps=rising,
            )
        optimizer = keras.optimizers.AdamW(
            rate,
            weight_decay=self.weight_decay,
            global_clipnorm=self.clip_norm or None,
            use_ema=self.ema > 0,
            ema_momentum=self.ema,
        )
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        return optimizer


def _stopping(patience: int) -> list[keras.callbacks.Callback]:
    import keras

    if not patience:
        return []
    return [
        keras.callbacks.EarlyStopping(
            "val_loss", mode="min", patience=patience, restore_best_weights=True
        )
    ]
