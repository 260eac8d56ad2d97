"""PhaseFitting: the epochs of one phase, reported and followed by Keras callbacks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tlkit.averaging import averaged_weights
from tlkit.block_rates import BlockRates
from tlkit.errors import ConfigError
from tlkit.events import Events
from tlkit.fitting import Examples, Fitter, Prepare
from tlkit.losses import Objective
from tlkit.model import count_parameters
from tlkit.records import Phase, PhaseResult

if TYPE_CHECKING:
    import keras


@dataclass
class PhaseFitting:
    """What a phase trains, and how.

    Attributes:
        name: Name of the phase.
        model: From the examples' inputs to logits.
        optimizer: A fresh Keras optimizer.
        epochs: Number of passes over the training images.
        batch_size: Images in one step.
        examples: What to train on, ``"train"``, and to validate on, ``"validation"``.
        objective: The loss.
        events: Tells the reporters.
        seed: Decides the order of the batches.
        epochs_before: Epochs of earlier phases, so that no order comes twice.
        parameters: Number of parameters of the whole network.
        prepare: Makes a batch of images ready for the model.
        rates: The learning rates of the blocks.
        callbacks: Keras callbacks.
    """

    name: str
    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    epochs: int
    batch_size: int
    examples: Mapping[str, Examples]
    objective: Objective
    events: Events
    seed: int
    epochs_before: int
    parameters: int
    prepare: Prepare | None = None
    rates: BlockRates | None = None
    callbacks: Sequence[keras.callbacks.Callback] = ()

    def run(self) -> PhaseResult:
        """Train, and return what the phase left behind.

        Raises:
            ConfigError: If the number of epochs, the batch size or the optimizer is not allowed.
            TrainingError: If the loss stops being finite.
        """
        import keras

        self._check()
        model, optimizer = self.model, self.optimizer
        num_images = len(self.examples["train"].rows)
        trainable, _ = count_parameters(model)
        phase = Phase(
            name=self.name,
            epochs=self.epochs,
            steps=-(-num_images // self.batch_size),
            num_images=num_images,
            trainable_parameters=trainable,
            frozen_parameters=self.parameters - trainable,
        )
        self.events.emit("on_phase_begin", phase)
        begin = time.monotonic()
        fitter = Fitter(model, optimizer, self.batch_size, self.objective, self.prepare)
        model.stop_training, model.optimizer = False, optimizer
        followers = keras.callbacks.CallbackList(
            list(self.callbacks), model=model, epochs=self.epochs, steps=phase.steps, verbose=0
        )
        followers.on_train_begin()
        history: dict[str, list[float]] = {}
        for epoch in range(1, self.epochs + 1):
            if self.rates is not None:
                self.rates.begin_epoch(epoch)
            followers.on_epoch_begin(epoch - 1)
            metrics = self._epoch(fitter, phase, epoch, followers)
            for key, value in metrics.items():
                history.setdefault(key, []).append(value)
            if model.stop_training:
                break
        optimizer.finalize_variable_values(model.trainable_variables)
        followers.on_train_end()
        return PhaseResult(phase, history, time.monotonic() - begin, _kept_epoch(self.callbacks))

    def _check(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ConfigError(
                f"A phase needs epochs and batch_size of 1 or more; received epochs={self.epochs}, "
                f"batch_size={self.batch_size}."
            )
        if self.optimizer.loss_scale_factor or hasattr(self.optimizer, "inner_optimizer"):
            raise ConfigError(
                f"{type(self.optimizer).__name__} scales the loss, which is not supported: "
                f"bfloat16 needs none. Give an optimizer without loss_scale_factor."
            )

    def _epoch(self, fitter: Fitter, phase: Phase, epoch: int, followers: Any) -> dict[str, float]:
        begin = time.monotonic()
        metrics = fitter.train_epoch(
            self.examples["train"],
            self.seed,
            self.epochs_before + epoch,
            lambda done, seconds: self.events.emit(
                "on_epoch_progress", phase, epoch, done, phase.num_images, seconds
            ),
        )
        # Callbacks that keep weights, such as EarlyStopping, keep the averages.
        with averaged_weights(fitter.optimizer, fitter.model.trainable_variables):
            held_out = fitter.evaluate(self.examples["validation"])
            metrics |= {f"val_{key}": value for key, value in held_out.items()}
            followers.on_epoch_end(epoch - 1, metrics)
        self.events.emit("on_epoch_end", phase, epoch, metrics, time.monotonic() - begin)
        return metrics


def _kept_epoch(callbacks: Sequence[Any]) -> int | None:
    """Return the epoch whose weights an EarlyStopping has put back, from 1."""
    import keras

    for callback in callbacks:
        stopping = isinstance(callback, keras.callbacks.EarlyStopping)
        if stopping and callback.restore_best_weights and callback.best_weights is not None:
            return int(callback.best_epoch) + 1
    return None
