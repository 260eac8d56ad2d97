"""FeatureSource: what one frozen model makes of images, from the store or computed and stored."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.augmentation import Augmentation, AugmentedImages
from tlkit.backbone import Backbone
from tlkit.engine_choice import PROBE_IMAGES, EngineChooser, Probe
from tlkit.events import Events
from tlkit.extraction import Pipeline
from tlkit.feature_filling import ComputeElsewhere, Features, FeatureType, Wanted
from tlkit.features import FeatureStore
from tlkit.fingerprint import fingerprint
from tlkit.plugin_calls import origin_of
from tlkit.ray_extraction import RayExtraction, work_of
from tlkit.ray_worker import Work
from tlkit.records import Extraction, Float32Array, ImageSequence, Split
from tlkit.resizing import Resizer, stack_resized
from tlkit.rows import take_rows
from tlkit.shards import ShardedArray
from tlkit.shared_shards import SharedShards
from tlkit.test_time_augmentation import PLAIN, FixedView, resizer_of_view

if TYPE_CHECKING:
    import keras

    from tlkit.engine import Forward


@dataclass
class ExtractionLog:
    """Where features came from, and how long that took.

    Attributes:
        feature_cache: For each split and view of it, ``"stored"``, or ``"extracted"`` where some
            had to be computed.
        extractions: Where the time of each extraction went.
        seconds: Wall-clock seconds in all.
    """

    feature_cache: dict[str, str] = field(default_factory=dict)
    extractions: list[Extraction] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class FeatureSource:
    """One frozen model and what it takes to run it on images.

    Attributes:
        model: From resized pixels (N, size, size, 3), 0 to 255, to features (N, ...).
        digest: The SHA-256 of everything in the model that features depend on.
        backbone: The backbone plugin; it says how images are resized.
        store: Where features are kept.
        engines: Chooses what runs the model.
        events: Tells the reporters.
        resizer: Resizes pixels to the backbone's size.
        log: Where it is noted what was done.
        augmentation: How views differ from their image.
        feature_type: The number type that is stored.
        what: Said of the features where they are shown, such as ``"block 6"``.
        reference_engine: Whether TensorFlow runs the model, whatever else is installed.
        cluster: What computes the features in place of this process; None for nothing.
    """

    model: keras.Model
    digest: str
    backbone: Backbone
    store: FeatureStore
    engines: EngineChooser
    events: Events
    resizer: Resizer
    log: ExtractionLog
    augmentation: Augmentation
    feature_type: FeatureType = "float32"
    what: str = ""
    reference_engine: bool = False
    cluster: RayExtraction | None = None
    _engine: Forward | None = None
    _pipelines: dict[FixedView, Pipeline] = field(default_factory=dict)
    _found: dict[tuple[int, int, FixedView], Features] = field(default_factory=dict)

    def get(
        self,
        name: str,
        split: Split,
        digest_of_images: str,
        view: int = 0,
        fixed: FixedView = PLAIN,
    ) -> Features:
        """Return the features of all images of a split, (N, ...), as they are stored.

        Args:
            name: What the split is called, such as ``"train"``.
            split: The images.
            digest_of_images: Their SHA-256.
            view: 0 for the images as they are, else the number of an augmented view.
            fixed: The view of these that the model averages over.
        """
        key = id(split.images), view, fixed
        if key in self._found:
            return self._found[key]
        begin = time.monotonic()
        label = self._label(name, view, fixed)
        total = len(split)
        self.events.emit("on_extract_progress", label, 0, total, 0.0, stored=False, kept=0)
        there_before = 0

        def progress(done: int, all_: int, seconds: float, kept: int) -> None:
            nonlocal there_before
            if not seconds:
                there_before = done
            self.events.emit(
                "on_extract_progress", label, done, all_, seconds, stored=False, kept=kept
            )

        found, stored = self.store.get(
            self._wanted(split, digest_of_images, view, label, fixed),
            progress,
            self.events.warnings.append,
        )
        seconds = time.monotonic() - begin
        if stored:
            self.events.emit(
                "on_extract_progress", label, total, total, seconds, stored=True, kept=total
            )
        else:
            self._note_extraction(label, total - there_before, seconds, fixed)
        self.log.feature_cache[label] = "stored" if stored else "extracted"
        self.log.seconds += seconds
        self._found[key] = found
        return found

    def missing_bytes(self, split: Split, digest_of_images: str, view: int = 0) -> int:
        """Return how many bytes the features of a split would take in the store; 0 if there."""
        wanted = self._wanted(split, digest_of_images, view, "")
        if self.store.holds(wanted.fingerprint):
            return 0
        return int(np.prod(wanted.shape)) * np.dtype(self.feature_type).itemsize

    def _label(self, name: str, view: int, fixed: FixedView) -> str:
        parts = [name, self.what, f"view {view}" if view else "", fixed.label]
        return ", ".join(part for part in parts if part)

    def _wanted(
        self,
        split: Split,
        digest_of_images: str,
        view: int,
        label: str,
        fixed: FixedView = PLAIN,
    ) -> Wanted:
        settings: dict[str, Any] = {
            "dtype": self.feature_type,
            "precision": "float32" if self.reference_engine else self.engines.precision,
        }
        images: ImageSequence = split.images
        if view:
            settings |= {"view": view, "augmentation": asdict(self.augmentation)}
            images = AugmentedImages(
                images,
                self.augmentation,
                view,
                self.backbone.image_size,
                self.backbone.interpolation,
            )
        if fixed != PLAIN:
            settings |= {"fixed_view": asdict(fixed)}
        wanted = Wanted(
            fingerprint(self.digest, digest_of_images, **settings),
            (len(images), *self.model.output_shape[1:]),
            self.backbone.name,
            lambda start: self._run_pipeline(images, start, split, fixed),
            self.feature_type,
            label,
            origin_of(self.backbone),
        )
        if self.cluster is None:
            return wanted
        return replace(wanted, compute_elsewhere=self._on_cluster(wanted, images, split, fixed))

    def _on_cluster(
        self, wanted: Wanted, images: ImageSequence, split: Split, fixed: FixedView
    ) -> ComputeElsewhere:
        cluster = self.cluster
        assert cluster is not None

        def compute(
            place: SharedShards, array: ShardedArray, shards: Sequence[int]
        ) -> Generator[tuple[int, str]]:
            def work(cpus: int) -> Work:
                self._pipeline(images, split, fixed, len(images))
                engine = self.engines.tensorflow if self.reference_engine else self.engines.chosen
                assert engine is not None
                return work_of(
                    wanted,
                    self.model,
                    self.backbone,
                    fixed,
                    engine,
                    self._pipelines[fixed],
                    images,
                    place=place,
                    array=array,
                    mark=mark,
                    cpus=cpus,
                )

            with place.marked() as mark:
                yield from cluster.compute(work, images, array, shards)

        return compute

    def _run_pipeline(
        self, images: ImageSequence, start: int, split: Split, fixed: FixedView
    ) -> Generator[Float32Array]:
        return self._pipeline(images, split, fixed, len(images) - start).run(images, start)

    def _pipeline(
        self, images: ImageSequence, split: Split, fixed: FixedView, total: int
    ) -> Pipeline:
        if fixed not in self._pipelines:
            if self._engine is None:
                self._engine = self._forward(images, split, total)
            size, interpolation = self.backbone.image_size, self.backbone.interpolation
            resize = resizer_of_view(fixed, size, interpolation, self.resizer)
            self._pipelines[fixed] = Pipeline(self._engine, resize, size)
        return self._pipelines[fixed]

    def _forward(self, images: ImageSequence, split: Split, total: int) -> Forward:
        if self.reference_engine:
            return self.engines.reference(self.model)

        def probe() -> Probe:
            count = min(PROBE_IMAGES, len(images))
            rows = np.linspace(0, len(images) - 1, count).astype(np.int64)
            return Probe(stack_resized(take_rows(images, rows), self.resizer), split.labels[rows])

        forward = self.engines.choose(self.model, self.digest, probe, total)
        self.events.emit("on_engine_chosen", self.engines.name, tuple(self.engines.trials))
        return forward

    def _note_extraction(self, label: str, count: int, seconds: float, fixed: FixedView) -> None:
        if fixed not in self._pipelines:
            return
        profile = self._pipelines[fixed].take_profile()
        engine = "tensorflow" if self.reference_engine else self.engines.name
        if self.cluster is not None:
            tally = self.cluster.take_tally()
            workers = {f"{node} {pid}": number for (node, pid), number in tally.images.items()}
            self.log.extractions.append(
                Extraction(
                    label, engine, count, tally.batch_size, seconds, dict(tally.seconds), workers
                )
            )
            return
        size = profile.largest_batch or profile.batch_size
        if profile.largest_batch:
            self.events.warnings.append(
                f"Memory ran out while the features of {label} were computed; batches were cut "
                f"from {profile.batch_size} to {size} images."
            )
        self.log.extractions.append(
            Extraction(label, engine, count, size, seconds, profile.seconds)
        )
