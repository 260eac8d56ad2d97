"""Heritage: what a run under way takes over from the run that it starts from, and its lineage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tlkit import run_folder
from tlkit.errors import DataError, RunFolderError, TlkitError
from tlkit.fingerprint import KnownDigests
from tlkit.head import Head
from tlkit.leakage import DuplicatesChoice, count_copies
from tlkit.parent import OldClasses, Parent, check_classes, inheritance, take_over
from tlkit.plugin_calls import plugin_call
from tlkit.records import Ancestor, Evaluation, ImageData, Lineage
from tlkit.registry import Registry
from tlkit.run_data import Replay, RunData, data_of_run
from tlkit.session import Session
from tlkit.subsets import SplitName, Subset
from tlkit.text import printable

_SEEN: tuple[SplitName, SplitName] = ("test", "validation")


class Heritage:
    """The parent of one run.

    Attributes:
        parent: The run that it starts from.
        digests: Those of the run's own images.
        lineage: What is known so far; None before ``begin()``.
    """

    def __init__(
        self, parent: Parent, choice: OldClasses, registry: Registry, digests: KnownDigests | None
    ) -> None:
        """Keep them.

        Args:
            parent: The run that it starts from.
            choice: What to do about classes of the parent that the data lacks.
            registry: Where data sets are looked up.
            digests: Those of the run's images that are known already.
        """
        self.parent = parent
        self.digests = KnownDigests()
        if digests is not None:
            # Copies: images that are joined live no longer than this run, and an object made
            # later may get the same id.
            self.digests = digests.copy()
        self.lineage: Lineage | None = None
        self._choice, self._registry = choice, registry
        self._missing: tuple[str, ...] = ()
        self._before: RunData | None = None

    @property
    def epochs(self) -> int:
        """How many epochs the runs before have trained, so that no order of images comes twice."""
        return sum(item.epochs for item in self.parent.ancestors)

    def replay_for(self, data: ImageData) -> Replay | None:
        """Return the images of the parent that stand in for classes which the data lacks.

        Raises:
            ConfigError: If classes are lacking, and it was not said what to do.
            DataError: If the parent's data is not there any more, or was changed.
        """
        self._missing = check_classes(self.parent, data.class_names, self._choice)
        if not self._missing or self._choice != "replay":
            return None
        try:
            self._before = data_of_run(self.parent.run, self._registry)
        except TlkitError as err:
            raise DataError(
                f"[run] old_classes = 'replay' needs the data of {self.parent.folder}, which "
                f"cannot be loaded: {err}\nPut it back, or set old_classes = 'drop'."
            ) from err
        return Replay(self._before, self._missing)

    def begin(
        self, loaded: RunData, head: Head, duplicates: DuplicatesChoice
    ) -> tuple[Lineage, list[str]]:
        """Return the lineage as far as it is known before the model is there, and notes.

        Raises:
            DataError: With ``duplicates = "error"``, if the parent was trained on test images.
        """
        parent, names = self.parent, loaded.data.class_names
        features = tuple(parent.parts.features.shape[1:])
        with plugin_call(head, "build()"):
            network = head.build(features, len(names))
        found = inheritance(parent, head, network, names)
        seen, notes = self._seen(loaded)
        if seen["test"] and duplicates == "error":
            raise DataError(
                f"{notes[0]}\nGive the run the seed and the data of {parent.folder}, or set [run] "
                f"duplicates = 'report'."
            )
        replayed = self._missing if self._choice == "replay" else ()
        test = loaded.subsets["test"]
        known = int(np.isin(test.split.labels[test.rows], self._known(names)).sum())
        self.lineage = Lineage(
            ancestors=parent.ancestors,
            head=found.head,
            reason=found.reason,
            new_classes=tuple(name for name in names if name not in parent.class_names),
            dropped_classes=self._missing if not replayed else (),
            replayed_classes=replayed,
            known_test_images=known,
            seen_test_images=seen["test"],
            seen_validation_images=seen["validation"],
        )
        self._before = None
        return self.lineage, notes

    def take_over(self, session: Session) -> None:
        """Give a model its parent's weights, and measure it before the first step.

        Raises:
            ConfigError: If the backbone's weights do not fit.
        """
        assert self.lineage is not None
        names = session.class_names
        found = take_over(self.parent, session.head, session.model, names)
        self.lineage = replace(self.lineage, head=found.head, reason=found.reason)
        session.epochs_before = self.epochs
        if found.head == "new" or not self.lineage.known_test_images:
            return
        logits, labels = session.logits("test")
        known = self._known(names)
        images = np.isin(labels, known)
        answers = np.asarray(known)[logits[images][:, known].argmax(axis=1)]
        before = float((answers == labels[images]).mean())
        self.lineage = replace(self.lineage, accuracy_before=before)

    def end(self, test: Evaluation, class_names: Sequence[str]) -> Lineage:
        """Return the whole lineage."""
        assert self.lineage is not None
        images = np.isin(test.labels, self._known(class_names))
        if not images.any():
            return self.lineage
        after = float((test.predictions[images] == test.labels[images]).mean())
        return replace(self.lineage, accuracy_after=after)

    def _known(self, class_names: Sequence[str]) -> list[int]:
        """Return the labels of the classes that the parent knows."""
        old = set(self.parent.class_names)
        return [label for label, name in enumerate(class_names) if name in old]

    def _seen(self, loaded: RunData) -> tuple[dict[str, int | None], list[str]]:
        """Return how many images to measure on the ancestors were trained on, and notes."""
        trained: list[Subset] = []
        for number, ancestor in enumerate(self.parent.ancestors):
            try:
                data = self._data_of(number, ancestor, loaded)
            except TlkitError as err:
                reason = printable(str(err).partition("\n")[0], 300)
                return dict.fromkeys(_SEEN), [
                    f"Not checked: whether {ancestor.folder}, which this run starts from, was "
                    f"trained on images of the test and validation here. {reason}"
                ]
            trained.append(data.subsets["train"])
        notes = []
        seen: dict[str, int | None] = {}
        for name in _SEEN:
            part = loaded.subsets[name]
            count = count_copies(part, trained, self.digests)
            seen[name] = count
            if count and not (name == "validation" and loaded.on_test):
                notes.append(
                    f"LEAKAGE: {count:,} of {len(part.rows):,} {name} images were trained on by "
                    f"the runs that this one starts from: the {name} figures are too good. With "
                    f"the same data, seed and validation as theirs they would not be."
                )
        return seen, notes

    def _data_of(self, number: int, ancestor: Ancestor, loaded: RunData) -> RunData:
        run: Any = self.parent.run
        if number == 0 and self._before is not None:
            return self._before
        if number > 0:
            run = run_folder.load_run(Path(ancestor.folder))
            if run.info.began != ancestor.began:
                raise RunFolderError(f"{ancestor.folder} holds another run now.")
        return data_of_run(run, self._registry, loaded.data, self.digests)
