"""PhaseFitting: the epochs of one phase, reported and followed by Keras callbacks."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.averaging import averaged_weights
from tlkit.block_rates import BlockRates
from tlkit.callback_state import CallbackState
from tlkit.changed_values import changed_values
from tlkit.checkpoint import Checkpoints
from tlkit.errors import ConfigError, RunFolderError, TrainingError, WorkerLostError
from tlkit.events import Events
from tlkit.fitting import Fitter, Prepare
from tlkit.losses import Objective
from tlkit.model import count_parameters
from tlkit.out_of_memory import is_out_of_memory
from tlkit.records import Phase, PhaseResult
from tlkit.replicas import Replicas
from tlkit.training_examples import Examples
from tlkit.training_state import (
    Epoch,
    TrainingState,
    assign,
    state_from_bytes,
    state_to_bytes,
)

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
        checkpoints: Where the state is kept after epochs, and found by a run that is resumed.
        number: The number of the phase among those of the run, from 0.
        random_state: The ``keras.Variable`` objects of random generators outside the model.
        replicas: The devices and machines of the run; None for one device.
        shared: Whether they share each batch; otherwise each machine trains the same.
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
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    number: int = 0
    random_state: Sequence[keras.Variable] = ()
    replicas: Replicas | None = None
    shared: bool = False
    _variables: list[Any] = field(default_factory=list)

    def run(self) -> PhaseResult:
        """Train, and return what the phase left behind.

        After an epoch the state is kept, unless that was done a moment ago; after an error or an
        interrupt that of the last epoch is. A run that is resumed goes on from there; its reporters
        are told of the epochs that are over too, with ``restored=True``. Where the loss stops being
        finite, the phase ends with the weights of its last good epoch.

        Raises:
            ConfigError: If the number of epochs, the batch size or the optimizer is not allowed.
            TrainingError: If the loss stops being finite before anything was learned.
            RunFolderError: If a checkpoint is of another phase or model.
        """
        import keras

        self._check()
        model, optimizer = self.model, self.optimizer
        phase = self._phase()
        self.events.emit("on_phase_begin", phase)
        fitter = self._make_fitter()
        model.stop_training, model.optimizer = False, optimizer
        state = self._restored(phase)
        if state.finished is not None:
            return state.finished
        followers = keras.callbacks.CallbackList(
            list(self.callbacks), model=model, epochs=self.epochs, steps=phase.steps, verbose=0
        )
        followers.on_train_begin()
        self._restore_callbacks(state)
        try:
            state, part = self._epochs(fitter, phase, state, followers)
        except BaseException:
            self.checkpoints.flush()
            raise
        if part < self.batch_size:
            self.events.warnings.append(
                f"Memory ran out in the phase {self.name}: batches of {self.batch_size} images "
                f"were worked on in parts of {part}. The steps are those of the whole batches, but "
                f"for what dropout draws."
            )
        if state.epochs:  # before the first step the averages are zeros
            optimizer.finalize_variable_values(model.trainable_variables)
        followers.on_train_end()
        result = PhaseResult(
            phase,
            _history(state.epochs),
            sum(epoch.seconds for epoch in state.epochs),
            _kept_epoch(self.callbacks),
        )
        state = self._capture(state, state.epochs)
        self.checkpoints.save(self.number, replace(state, finished=result))
        return result

    def _phase(self) -> Phase:
        num_images = len(self.examples["train"].rows)
        trainable, _ = count_parameters(self.model)
        return Phase(
            name=self.name,
            epochs=self.epochs,
            steps=-(-num_images // self.batch_size),
            num_images=num_images,
            trainable_parameters=trainable,
            frozen_parameters=self.parameters - trainable,
        )

    def _make_fitter(self) -> Fitter:
        """Return what takes the steps, and note the variables whose values are the state."""
        fitter = Fitter(
            self.model,
            self.optimizer,
            self.batch_size,
            self.objective,
            self.prepare,
            self.replicas if self.shared else None,
            self.random_state,
        )
        self._variables = [
            *self.model.variables,
            *self.optimizer.variables,
            *fitter.random_state,
            *self.random_state,
        ]
        return fitter

    def _epochs(
        self, fitter: Fitter, phase: Phase, state: TrainingState, followers: Any
    ) -> tuple[TrainingState, int]:
        """Train what is left; return the last state, and how many images memory held at once."""
        part = self.batch_size
        while len(state.epochs) < self.epochs and not state.stop:
            begin = time.monotonic()
            try:
                with self._telling_lost_workers():
                    metrics = self._epoch(fitter, phase, len(state.epochs) + 1, followers)
            except WorkerLostError:
                raise
            except TrainingError as err:
                state = self._last_good(state, err)
                break
            except Exception as err:
                if not is_out_of_memory(err) or part == 1:
                    raise
                if self._several:
                    raise TrainingError(
                        f"Memory ran out at this worker in the phase {self.name}, and workers "
                        f"cannot work on parts of a batch each as they like. Lower [workflow] "
                        f"batch_size, or use more workers."
                    ) from err
                # Some steps of this epoch may have been taken.
                assign(self._variables, state.variables)
                part = -(-part // 2)
                fitter.cut_batches(part)
                continue
            epoch = Epoch(metrics, time.monotonic() - begin)
            state = self._capture(state, (*state.epochs, epoch))
            self.checkpoints.offer(self.number, state)
            self.events.emit("on_epoch_end", phase, len(state.epochs), metrics, epoch.seconds)
        return state, part

    def _restore_callbacks(self, state: TrainingState) -> None:
        """Give the callbacks what they remembered; those of a new phase have begun already."""
        before = [kept.callback for kept in state.callbacks]
        now = [type(callback).__name__ for callback in self.callbacks]
        if before != now:
            self.events.warnings.append(
                f"The phase {self.name} goes on with other callbacks than it began with, which "
                f"begin anew: {', '.join(now) or 'none'} instead of {', '.join(before) or 'none'}."
            )
            return
        for callback, kept in zip(self.callbacks, state.callbacks, strict=True):
            kept.restore(callback)

    def _restored(self, phase: Phase) -> TrainingState:
        """Return the state to begin from: the model as it is, or what a checkpoint holds."""
        described = {
            **asdict(phase),
            "batch_size": self.batch_size,
            "optimizer": type(self.optimizer).__name__,
        }
        state = self.checkpoints.load(self.number)
        if self._several:
            state = self._of_chief(state or self._capture(TrainingState(described), ()))
        if state is None:
            return self._capture(TrainingState(described), ())
        if state.phase != described:
            raise RunFolderError(
                f"The checkpoint of phase {self.number + 1} is of another one: "
                f"{'; '.join(changed_values(state.phase, described))}. Was the workflow's code "
                f"changed? Put it back as it was and resume, or begin a new run."
            )
        assign(self._variables, state.variables)
        for number, epoch in enumerate(state.epochs, 1):
            self.events.emit(
                "on_epoch_end", phase, number, epoch.metrics, epoch.seconds, restored=True
            )
        return state

    @property
    def _several(self) -> bool:
        return self.replicas is not None and self.replicas.workers > 1

    def _telling_lost_workers(self) -> AbstractContextManager[None]:
        return nullcontext() if self.replicas is None else self.replicas.telling_lost_workers()

    def _of_chief(self, own: TrainingState) -> TrainingState:
        """Return the chief's state, so that all workers begin with the same; they need no disk."""
        assert self.replicas is not None
        assert self.replicas.cluster is not None
        chief = self.replicas.cluster.is_chief
        content = self.replicas.from_chief(state_to_bytes(own) if chief else b"")
        return own if chief else state_from_bytes(content)

    def _capture(self, state: TrainingState, epochs: tuple[Epoch, ...]) -> TrainingState:
        import keras

        begin = time.monotonic()
        captured = replace(
            state,
            epochs=epochs,
            # Copies: on a CPU the arrays may share the variables' memory.
            variables=tuple(
                np.array(keras.ops.convert_to_numpy(variable)) for variable in self._variables
            ),
            callbacks=tuple(map(CallbackState.of, self.callbacks)),
            stop=bool(self.model.stop_training),
        )
        self.checkpoints.seconds += time.monotonic() - begin
        return captured

    def _last_good(self, state: TrainingState, err: TrainingError) -> TrainingState:
        """Put back the weights of the last epoch, or of the phase before.

        Raises:
            TrainingError: If there is none.
        """
        done = len(state.epochs)
        where = f"The phase {self.name} ended in epoch {done + 1} of {self.epochs}"
        if not (done or self.number):
            raise TrainingError(f"{where}. {err}") from err
        assign(self._variables, state.variables)
        of = f"epoch {done}" if done else "the phase before"
        self.events.warnings.append(f"{where}, with the weights of {of}. {err}")
        return state

    def _check(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ConfigError(
                f"A phase needs epochs and batch_size of 1 or more; received epochs={self.epochs}, "
                f"batch_size={self.batch_size}."
            )
        if self.shared and self.replicas is not None:
            self.replicas.check_batch_size(self.batch_size)
            self.replicas.check_layers(self.model)
        if self.optimizer.loss_scale_factor or hasattr(self.optimizer, "inner_optimizer"):
            raise ConfigError(
                f"{type(self.optimizer).__name__} scales the loss, which is not supported: "
                f"bfloat16 needs none. Give an optimizer without loss_scale_factor."
            )

    def _epoch(self, fitter: Fitter, phase: Phase, epoch: int, followers: Any) -> dict[str, float]:
        if self.rates is not None:
            self.rates.begin_epoch(epoch)
        followers.on_epoch_begin(epoch - 1)
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
            if not math.isfinite(held_out["loss"]):
                raise TrainingError(
                    f"The validation loss became {held_out['loss']}. Lower the learning rate, or "
                    f"check the data for broken images."
                )
            metrics |= {f"val_{key}": value for key, value in held_out.items()}
            followers.on_epoch_end(epoch - 1, metrics)
        return metrics


def warn_if_worse(phases: Sequence[PhaseResult], events: Events) -> None:
    """Warn where the last phase left the validation loss higher than the one before it.

    Not where the accuracy rose: the loss then tells of confidence, which a temperature corrects.
    """
    if len(phases) < 2:
        return
    earlier, later = (item.figures() for item in phases[-2:])
    before, now = earlier.get("val_loss"), later.get("val_loss")
    rose = later.get("val_accuracy", 0.0) > earlier.get("val_accuracy", 0.0)
    if before is not None and now is not None and round(now, 3) > round(before, 3) and not rose:
        events.warnings.append(
            f"The phase {phases[-1].phase.name} left the validation loss higher than it was: "
            f"{before:.3f} before, {now:.3f} after. Train longer, at a lower learning rate, or "
            f"unfreeze fewer blocks."
        )


def _history(epochs: Sequence[Epoch]) -> dict[str, list[float]]:
    history: dict[str, list[float]] = {}
    for epoch in epochs:
        for key, value in epoch.metrics.items():
            history.setdefault(key, []).append(value)
    return history


def _kept_epoch(callbacks: Sequence[Any]) -> int | None:
    """Return the epoch whose weights an EarlyStopping has put back, from 1."""
    import keras

    for callback in callbacks:
        stopping = isinstance(callback, keras.callbacks.EarlyStopping)
        if stopping and callback.restore_best_weights and callback.best_weights is not None:
            return int(callback.best_epoch) + 1
    return None
