"""SharedParts: what runs of one process have in common, made once and lent to each."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, cast

from tlkit.dataset import load_data
from tlkit.feature_filling import Features, Progress, Wanted, Warn
from tlkit.features import FeatureStore
from tlkit.fingerprint import KnownDigests, digest_labels, digest_splits
from tlkit.model import Trunk
from tlkit.records import ImageData
from tlkit.run_data import RunData, prepare_data
from tlkit.session import Session
from tlkit.trainer import Trainer


class RememberedFeatures:
    """A feature store whose entries are read and checked once, not once for each run.

    Attributes:
        store: The store; whatever else is asked for is asked of it.
    """

    def __init__(self, store: FeatureStore) -> None:
        self.store = store
        self._known: dict[str, Features] = {}

    def get(
        self, wanted: Wanted, progress: Progress | None = None, warn: Warn | None = None
    ) -> tuple[Features, bool]:
        """Return features as the store does."""
        if wanted.fingerprint in self._known:
            return self._known[wanted.fingerprint], True
        found, stored = self.store.get(wanted, progress, warn)
        self._known[wanted.fingerprint] = found
        return found, stored

    def is_of(self, store: FeatureStore) -> bool:
        """Return whether this is the store, or one of the same places."""
        known = self.store
        return (known.folder, known.shared) == (store.folder, store.shared)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


class SharedParts:
    """The images of a seed and the network of a backbone.

    All Trainers that are given must have the same data set.

    Attributes:
        digests: Those of the images that are in memory.
    """

    def __init__(self) -> None:
        self.digests = KnownDigests()
        self._seed: int | None = None
        self._data: ImageData | None = None
        self._fingerprints: dict[int, dict[str, str]] = {}
        self._key = ""
        self._network: Any = None
        self._loaded: tuple[Any, RunData] | None = None
        self._trunk: tuple[str, Trunk] | None = None
        self._remembered: RememberedFeatures | None = None

    def fingerprints(self, trainer: Trainer) -> dict[str, str]:
        """Return those of the images and labels that a run would use now."""
        if trainer.seed not in self._fingerprints:
            data = self._load(trainer)
            self._fingerprints[trainer.seed] = {
                **digest_splits(data, self.digests),
                "labels": digest_labels(data),
            }
        return self._fingerprints[trainer.seed]

    def lend(self, trainer: Trainer) -> None:
        """Let a Trainer find what is there already; its plugins and its config stay its own."""
        data = self._load(trainer)
        vars(trainer.dataset)["load"] = lambda seed: data
        trainer.digests = self.digests
        build = trainer.backbone.build
        # The seed is in the key because it decides random weights.
        key = repr((trainer.seed, trainer.config["backbone"]))

        def build_once() -> Any:
            # Fine-tuning changes it, so that the next run needs a fresh one.
            if self._network is None or key != self._key or trainer.workflow.fine_tunes:
                self._network = None
                _forget_models()
                self._key, self._network = key, build()
            return self._network

        vars(trainer.backbone)["build"] = build_once

    def run_data(self, trainer: Trainer) -> RunData:
        """Return the data, split and checked as a run would have it.

        Raises:
            DataError: If there are too few images.
        """
        settings = trainer.data_settings
        data = self._load(trainer)
        if self._loaded is None or self._loaded[0] != settings:
            self._loaded = settings, prepare_data(data, settings, self.digests)
        return self._loaded[1]

    def try_out(self, trainer: Trainer, then: Callable[[Session], Any]) -> Any:
        """Train a Trainer's model on shared data, with what stands before the head if it is there.

        Args:
            trainer: What to train; see ``Trainer.try_out()``.
            then: Called with the session; what it returns is returned. The session is not kept.
        """
        tables = trainer.config
        key = repr(
            (
                trainer.seed,
                tables["backbone"],
                tables["test_time_augmentation"],
                trainer.head.pooling,
            )
        )
        loaded = self.run_data(trainer)
        fits = self._trunk is not None and self._trunk[0] == key and not trainer.workflow.fine_tunes
        if not fits:
            self._trunk = self._remembered = None
            _forget_models()
        if self._remembered is None or not self._remembered.is_of(trainer.store):
            self._remembered = RememberedFeatures(trainer.store)
        trainer.store = cast(FeatureStore, self._remembered)
        session = trainer.try_out(loaded, self.digests, self._trunk[1] if self._trunk else None)
        if not session.fine_tuned:
            self._trunk = key, session.model.trunk
        return then(session)

    def _load(self, trainer: Trainer) -> ImageData:
        if self._data is None or trainer.seed != self._seed:
            self._data = None  # lets go of the other one first
            self._loaded = None
            self.digests = KnownDigests()
            self._data = load_data(trainer.dataset, trainer.seed)
            self._seed = trainer.seed
        return self._data


def _forget_models() -> None:
    """Free what Keras keeps of models that are gone; a long series would grow by each of them."""
    import keras

    keras.backend.clear_session()
    gc.collect()
