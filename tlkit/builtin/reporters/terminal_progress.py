"""What is known of an extraction and of a phase that are under way: figures, rate, time left."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from tlkit import Phase

_WINDOW_SECONDS = 30.0
_EPOCHS_OF_MEDIAN = 5


@dataclass
class ExtractionProgress:
    """One split's extraction.

    Attributes:
        split: Its name.
        total: Images in the split.
        done: Images whose features are there.
        seconds: Since the extraction began.
        resumed: Images whose features an earlier run had stored.
    """

    split: str
    total: int
    done: int = 0
    seconds: float = 0.0
    resumed: int = 0
    _window: deque[tuple[float, int]] = field(default_factory=deque)

    def update(self, done: int, seconds: float) -> None:
        """Note how far it is."""
        if seconds == 0:
            self.resumed = done
        self.done, self.seconds = done, seconds
        # Where an engine was tried first, the first batch comes late; the rate counts from it.
        if done > self.resumed:
            self._window.append((seconds, done))
        while len(self._window) > 2 and seconds - self._window[1][0] > _WINDOW_SECONDS:
            self._window.popleft()

    @property
    def rate(self) -> float | None:
        """Images per second over the last half minute; None where nothing can be said yet."""
        if len(self._window) < 2:
            return None
        (begin, first), (end, last) = self._window[0], self._window[-1]
        return (last - first) / (end - begin) if end > begin else None

    @property
    def seconds_left(self) -> float | None:
        """Until the split is finished; None where nothing can be said yet."""
        return (self.total - self.done) / self.rate if self.rate else None


@dataclass
class PhaseProgress:
    """One phase.

    Attributes:
        phase: The phase.
        epoch: The epoch under way or just finished, from 1.
        done: Images seen in it.
        total: Images in an epoch.
        seconds: Since the epoch began.
        history: One list for each figure, one value for each finished epoch.
        epoch_seconds: What each finished epoch took, validation included.
    """

    phase: Phase
    epoch: int = 1
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    history: dict[str, list[float]] = field(default_factory=dict)
    epoch_seconds: list[float] = field(default_factory=list)
    _rate: float | None = None

    def update(self, epoch: int, done: int, total: int, seconds: float) -> None:
        """Note how far an epoch is."""
        self.epoch, self.done, self.total, self.seconds = epoch, done, total, seconds
        if done > 0 and seconds > 0:
            self._rate = done / seconds

    def end_epoch(self, epoch: int, metrics: Mapping[str, float], seconds: float) -> None:
        """Note the figures of a finished epoch."""
        self.epoch, self.done, self.seconds = epoch, self.total, seconds
        self.epoch_seconds.append(seconds)
        for key, value in metrics.items():
            self.history.setdefault(key, []).append(value)

    @property
    def finished(self) -> int:
        """How many epochs are finished."""
        return len(self.epoch_seconds)

    @property
    def share(self) -> float:
        """How much of all epochs is done, 0 to 1."""
        epochs = self.epoch - 1 + (self.done / self.total if self.total else 0)
        return min(1.0, max(self.finished, epochs) / max(self.phase.epochs, 1))

    @property
    def rate(self) -> float | None:
        """Images per second of the training, without validation; None before the first ones."""
        return self._rate

    @property
    def seconds_left(self) -> float | None:
        """Until the last epoch is finished; None where nothing can be said yet."""
        if self.epoch_seconds:
            # The first epoch compiles; the median of the last ones leaves it out.
            each = statistics.median(self.epoch_seconds[-_EPOCHS_OF_MEDIAN:])
            spent = self.seconds if self.epoch > self.finished else 0.0
            return max(0.0, each * (self.phase.epochs - self.finished) - min(spent, each))
        if not self._rate or not self.total:
            return None
        return self.phase.epochs * self.total / self._rate - self.seconds

    @property
    def best(self) -> int | None:
        """The finished epoch, from 1, with the lowest validation loss; None without validation."""
        return best_epoch(self.history)


def best_epoch(history: Mapping[str, list[float]]) -> int | None:
    """Return the epoch, from 1, with the lowest validation loss; None where none is a number."""
    losses = history.get("val_loss", [])
    finite = [(loss, epoch) for epoch, loss in enumerate(losses, 1) if math.isfinite(loss)]
    return min(finite)[1] if finite else None
