"""Trying: one trial after another, on features that all of them share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from tlkit.config.building import build_trainer
from tlkit.errors import ConfigError, TlkitError, TrainingError
from tlkit.features import FeatureStore
from tlkit.records import Phase
from tlkit.registry import Registry
from tlkit.reporter import Reporter
from tlkit.session import Session
from tlkit.shared_parts import SharedParts
from tlkit.sweep.board import Board
from tlkit.sweep.parameters import assignment
from tlkit.sweep.records import State, Trial
from tlkit.sweep.space import Space
from tlkit.sweep.study import SEEN_EVERY, Asked, SweepStudy
from tlkit.trainer import Trainer


@dataclass(frozen=True)
class Variations:
    """A config, and the Trainers of its variations.

    Attributes:
        source: The name of a recipe, or the path of a TOML file.
        overrides: ``TABLE.KEY=VALUE`` each, applied to all.
        store: Where features are kept; None for what the config says.
        registry: Where plugin names are looked up.
        one_thread_per_operation: How TensorFlow is started, where the workflow never fine-tunes.
    """

    source: str
    overrides: tuple[str, ...]
    store: FeatureStore | None
    registry: Registry
    one_thread_per_operation: bool = False

    def trainer(self, values: Mapping[str, Any], *, reporters: bool = False) -> Trainer:
        """Make the Trainer of one variation; it saves nothing.

        Args:
            values: What it sets, by key of the config.
            reporters: Whether it has the config's reporters.

        Raises:
            ConfigError: If the config is not valid with these values.
            UnknownPluginError: If a plugin is not registered.
        """
        trainer = build_trainer(
            self.source,
            [*self.assignments(values), *([] if reporters else ["reporters=[]"])],
            runs=None,
            store=self.store,
            registry=self.registry,
        )
        frozen = not trainer.workflow.fine_tunes
        trainer.one_thread_per_operation = self.one_thread_per_operation and frozen
        return trainer

    def assignments(self, values: Mapping[str, Any]) -> list[str]:
        """Return what turns the config into a variation, ``TABLE.KEY=VALUE`` each."""
        return [*self.overrides, *(assignment(key, value) for key, value in values.items())]

    def check(self, space: Space) -> Trainer:
        """Check the config, and all ends and choices of a space with it.

        Returns:
            The Trainer of the config as it is.

        Raises:
            ConfigError: If a trial could not begin; the error names the values.
            UnknownPluginError: If a plugin is not registered.
        """
        trainer = self.trainer({}, reporters=True)
        if trainer.validation == "test":
            raise ConfigError(
                "A sweep is not allowed with [run] validation = 'test': the best of many trials "
                "would be chosen by the test images, and its test accuracy would say nothing. Set "
                "validation to a share of the training images, such as 0.1."
            )
        if trainer.start_from is not None:
            raise ConfigError(
                "A sweep is not allowed with [run] start_from: trials share their images, and this "
                "key may add some. Leave it out, or try the settings one by one: tlkit run --from."
            )
        for values in space.examples():
            try:
                self.trainer(values)
            except TlkitError as err:
                shown = ", ".join(f"{key} = {value!r}" for key, value in values.items())
                raise type(err)(f"The space has values that do not fit: {shown}.\n{err}") from err
        return trainer


class Pruned(BaseException):
    """Ends a trial that is not worth its next epoch; not an Exception, as nothing went wrong."""


class Follower(Reporter):
    """Tells the study of each epoch, and the board of everything."""

    name: ClassVar[str] = "sweep"

    def __init__(
        self,
        metric: str,
        report: Callable[[float, int], bool],
        seen: Callable[[], None],
        status: Callable[[str], None],
    ) -> None:
        self._metric, self._report, self._seen, self._status = metric, report, seen, status
        self._told = time.monotonic()
        self.epochs, self.training, self.metrics = 0, 0.0, dict[str, float]()

    def on_extract_progress(
        self, split: str, done: int, total: int, seconds: float, **kwargs: Any
    ) -> None:
        """Tell how far the extraction is."""
        if not kwargs.get("stored"):
            self._status(f"features of {split}, {done:,} of {total:,}")
        self._keep_alive()

    def on_epoch_progress(
        self, phase: Phase, epoch: int, done: int, total: int, seconds: float, **kwargs: Any
    ) -> None:
        """Tell that the trial is worked on."""
        self._keep_alive()

    def on_epoch_end(
        self, phase: Phase, epoch: int, metrics: Mapping[str, float], seconds: float, **kwargs: Any
    ) -> None:
        """Report the metric.

        Raises:
            Pruned: If the pruner ends the trial.
        """
        self.epochs += 1
        self.training += seconds
        self.metrics = dict(metrics)
        self._status(f"{phase.name}, epoch {epoch} of {phase.epochs}")
        if self._report(metrics[self._metric], self.epochs):
            raise Pruned

    def _keep_alive(self) -> None:
        now = time.monotonic()
        if now - self._told > SEEN_EVERY:
            self._told = now
            self._seen()


@dataclass(frozen=True)
class Outcome:
    """What came of a trial, before the study knows.

    Attributes: see ``Trial``.
    """

    state: State
    value: float | None
    metrics: Mapping[str, float]
    epochs: int
    seconds: Mapping[str, float]
    error: str | None = None

    def record(self) -> dict[str, Any]:
        """Return what the study keeps beside state and value."""
        return {
            "metrics": dict(self.metrics),
            "epochs": self.epochs,
            "seconds": dict(self.seconds),
            "error": self.error,
        }


def try_values(
    variations: Variations,
    values: Mapping[str, Any],
    shared: SharedParts,
    metric: str,
    follower: Follower,
) -> Outcome:
    """Train one variation and measure it on the validation images.

    Args:
        variations: The config.
        values: What the trial sets.
        shared: The data and the backbone of all trials.
        metric: What to measure.
        follower: Told of the epochs; it may end the trial.
    """
    begin = time.monotonic()

    def outcome(state: State, **known: Any) -> Outcome:
        last = follower.metrics
        found = Outcome(state, last.get(metric), last, follower.epochs, {}, None)
        seconds = {"training": follower.training, "total": time.monotonic() - begin}
        return replace(found, **{**known, "seconds": {**known.get("seconds", {}), **seconds}})

    def measure(session: Session) -> Outcome:
        figures = session.phases[-1].figures()
        if metric not in figures:
            raise TrainingError(f"The workflow measured no {metric}: {', '.join(figures)}.")
        seconds = {"features": session.log.seconds}
        return outcome("finished", value=figures[metric], metrics=figures, seconds=seconds)

    try:
        trainer = variations.trainer(values)
        trainer.listeners = [follower]
        found: Outcome = shared.try_out(trainer, measure)
        return found
    except Pruned:
        return outcome("pruned")
    except Exception as err:  # a third party's plugin may raise anything; the others go on
        text = str(err) if isinstance(err, TlkitError) else f"{type(err).__name__}: {err}"
        return outcome("failed", value=None, error=text.strip().split("\n", 1)[0])


def run_trials(
    variations: Variations, study: SweepStudy, shared: SharedParts, board: Board
) -> Iterator[Trial]:
    """Run trials until the study has enough; yield each when it is over."""
    while (asked := study.ask()) is not None:
        trial = run_one(variations, study, asked, shared, board)
        if trial is not None:
            yield trial


def run_one(
    variations: Variations, study: SweepStudy, asked: Asked, shared: SharedParts, board: Board
) -> Trial | None:
    """Run one trial in this process and keep what came of it."""
    board.begin(asked.number, asked.values)
    follower = Follower(
        study.settings.metric,
        lambda value, step: study.report(asked, value, step),
        lambda: study.seen(asked),
        board.status,
    )
    try:
        found = try_values(variations, asked.values, shared, study.settings.metric, follower)
    except BaseException:
        study.give_up(asked)
        raise
    trial = study.end(asked, found.state, found.value, found.record())
    if trial is not None:
        board.end(trial)
    return trial


def changes(values: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Return the values of some keys of a resolved config's tables."""
    found: dict[str, Any] = {}
    for key in keys:
        table, _, name = key.partition(".")
        if name in values.get(table, {}):
            found[key] = values[table][name]
    return found
