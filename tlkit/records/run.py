"""A run: what is known when it begins, and all that it learned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlkit.records.arrays import Float32Array, Int64Array
from tlkit.records.evaluation import Evaluation
from tlkit.records.extraction import EngineTrial, Extraction
from tlkit.records.images import ImageSequence
from tlkit.records.lineage import Lineage
from tlkit.records.training import PhaseResult


@dataclass(frozen=True)
class RunInfo:
    """What is known when a run begins; reporters receive it in ``on_run_begin``.

    Attributes:
        name: The name of the run.
        folder: Where the run is kept; None for a run that is not saved.
        config: The resolved config, as in ``config.toml``.
        class_names: The class names in the order of the labels.
        num_train: Number of images trained on, without the validation split.
        num_validation: Number of validation images.
        num_test: Number of test images.
        notes: What the user should know, such as validation on the test set.
        idle_options: For each kind of plugin the options that change nothing in this run.
        class_counts: Number of images trained on of each class, in the order of the labels.
        duplicates: Number of ``test`` and of ``validation`` images that are also training images,
            of ``train`` images that repeat an earlier one, of images with two labels
            (``label_conflicts``), and of the data set's own validation images that are also test
            images (``validation_in_test``); all counted before ``few_shot``.
        validates_on_test: Whether the validation images are the test images. The config's
            ``validation = "test"`` does not say so where the data set brings validation images.
        began: When the run began, as ISO 8601 with the offset from UTC, such as
            ``"2026-11-24T12:08:16+01:00"``. Of a run that did not record it: what its folder's name
            says, without an offset; empty if that says nothing.
        lineage: The run that this one started from; None if it began from pretrained weights.
    """

    name: str
    folder: Path | None
    config: Mapping[str, Any]
    class_names: tuple[str, ...]
    num_train: int
    num_validation: int
    num_test: int
    notes: tuple[str, ...] = ()
    idle_options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    class_counts: tuple[int, ...] = ()
    duplicates: Mapping[str, int] = field(default_factory=dict)
    validates_on_test: bool = False
    began: str = ""
    lineage: Lineage | None = None

    @property
    def keeps_test_images(self) -> bool:
        """Whether the run folder may hold pictures of test images: ``[run] test_images``."""
        return bool(self.config.get("run", {}).get("test_images", True))

    @property
    def settings(self) -> dict[str, bool | int | float | str]:
        """The config in one level, such as ``{"backbone.image_size": 96}``, without reporters.

        What is not set is left out; lists and tables become JSON, other objects their type's name.
        """
        return {
            f"{table}.{key}": value if isinstance(value, bool | int | float | str) else _text(value)
            for table, entries in self.config.items()
            if isinstance(entries, Mapping)
            for key, value in entries.items()
            if value is not None
        }

    @property
    def num_looks(self) -> int:
        """How many views of an image the saved model averages the logits of; 1 for the image alone.

        Runs of before have no table ``[test_time_augmentation]``.
        """
        table = self.config.get("test_time_augmentation", {})
        return (1 + len(table.get("scales", ()))) * (2 if table.get("mirror") else 1)

    @property
    def looks(self) -> str:
        """These views in words, such as ``"2 views: the image and its mirror image"``.

        Empty for the image alone.
        """
        table = self.config.get("test_time_augmentation", {})
        names = ["the image", *(f"scale {scale:g}" for scale in table.get("scales", ()))]
        if self.num_looks == 1:
            return ""
        if len(names) == 1:
            return "2 views: the image and its mirror image"
        mirrored = ", each also mirrored" if table.get("mirror") else ""
        listed = f"{', '.join(names[:-1])} and {names[-1]}"
        return f"{self.num_looks} views: {listed}{mirrored}"

    @property
    def imbalance(self) -> float:
        """Images of the largest class for each image of the smallest: 1.0 is even.

        Infinite if a class has no image, and 1.0 if nothing is known.
        """
        if not self.class_counts:
            return 1.0
        smallest = min(self.class_counts)
        return max(self.class_counts) / smallest if smallest else float("inf")


@dataclass(frozen=True)
class RunResult:
    """All that a run learned.

    Attributes:
        info: What was known when the run began.
        phases: What each phase left behind, in order.
        test: The test figures.
        seconds: Wall-clock seconds by part: ``start`` (importing TensorFlow), ``data``, ``model``,
            ``features``, ``training``, ``checkpoints`` (keeping the state after epochs),
            ``evaluation``, ``saving``, ``reports`` (what reporters did in ``on_run_end``, which is
            not told to them), and ``total``.
        fingerprints: SHA-256 digests: of the images, ``train``, ``test`` and, where the data set
            brings its own, ``validation``; of the class names and all labels, ``labels``; of the
            backbone's weights before training, ``weights``; of the model's file of the run that
            this one started from, ``parent``. Older runs have no ``labels``.
        environment: Versions of Python, tlkit and the libraries, and the machine.
        feature_cache: For each split, ``"stored"`` if its features were already on disk,
            ``"extracted"`` if this run computed them, or those that were missing or damaged.
        extractions: Where the time of each extraction went; empty if all features were stored.
        engine_trials: How engines other than TensorFlow compared with it.
        warnings: What went wrong without ending the run, such as a reporter that raised.
        model: The trained ``keras.Model``: pixels 0 to 255 in, probabilities out. None when the
            result was read back from a folder; ``load_model()`` loads it then.
        test_images: The test images, so that reporters can show them; None when read back.
        validation: The labels (N,) and the model's probabilities (N, number of classes) of the
            validation images; None where these are the test images, and when read back
            (``tlkit.run_folder.load_validation()``).
    """

    info: RunInfo
    phases: tuple[PhaseResult, ...]
    test: Evaluation
    seconds: Mapping[str, float]
    fingerprints: Mapping[str, str]
    environment: Mapping[str, str]
    feature_cache: Mapping[str, str] = field(default_factory=dict)
    extractions: tuple[Extraction, ...] = ()
    engine_trials: tuple[EngineTrial, ...] = ()
    warnings: tuple[str, ...] = ()
    model: Any = field(default=None, repr=False, compare=False)
    test_images: ImageSequence | None = field(default=None, repr=False, compare=False)
    validation: tuple[Int64Array, Float32Array] | None = field(
        default=None, repr=False, compare=False
    )

    def __repr__(self) -> str:
        """Return the name, the accuracy, the phases and the folder."""
        phases = ", ".join(repr(item.phase.name) for item in self.phases)
        folder = None if self.folder is None else str(self.folder)
        return (
            f"RunResult(name={self.info.name!r}, accuracy={self.accuracy:.4f}, "
            f"phases=[{phases}], folder={folder!r})"
        )

    def _repr_html_(self) -> str:
        """Return what notebooks show of a result: a piece of HTML without scripts."""
        from tlkit.notebook_display import result_html

        return result_html(self)

    @property
    def folder(self) -> Path | None:
        """Where the run is kept; None for a run that was not saved."""
        return self.info.folder

    @property
    def accuracy(self) -> float:
        """The test accuracy, 0 to 1."""
        return self.test.accuracy


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=lambda item: f"<{type(item).__name__}>")
