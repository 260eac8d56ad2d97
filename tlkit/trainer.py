"""Trainer: runs a workflow over a dataset with a backbone and a head, and reports it."""

from __future__ import annotations

import functools
import importlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tlkit import run_folder, run_mirror, thumbnails
from tlkit.atomic import remove_unfinished
from tlkit.augmentation import Augmentation
from tlkit.backbone import Backbone
from tlkit.calibration import (
    LEAST_TEMPERATURE,
    MOST_TEMPERATURE,
    fit_temperature,
    measure_calibration,
    softmax,
)
from tlkit.changed_values import settings_of_figures
from tlkit.checkpoint import Checkpoints
from tlkit.dataset import DatasetSource
from tlkit.engine import Engine
from tlkit.engine_choice import EngineChooser, engines_folder
from tlkit.errors import (
    ConfigError,
    PluginError,
    RunFolderError,
    StoreFailedError,
    TlkitError,
    WorkerLostError,
    did_you_mean,
)
from tlkit.evaluation import evaluate
from tlkit.events import Events
from tlkit.extraction import MAX_WORKERS
from tlkit.feature_filling import FeatureType
from tlkit.features import FeatureStore, shared_store
from tlkit.fingerprint import KnownDigests, digest_splits, digest_weights
from tlkit.head import Head
from tlkit.heritage import Heritage
from tlkit.images import without_warnings
from tlkit.interruption import command_line
from tlkit.leakage import DuplicatesChoice
from tlkit.model import Trunk, build_backbone, with_temperature
from tlkit.object_store import local_place
from tlkit.parent import OldClasses, check_backbone, read_parent
from tlkit.paths import with_urls
from tlkit.plugin import Plugin
from tlkit.plugin_calls import describe_plugin, plugin_call, plugin_warnings
from tlkit.ray_cluster import RayCluster
from tlkit.ray_extraction import RayExtraction
from tlkit.records import (
    Evaluation,
    Float32Array,
    ImageData,
    Int64Array,
    RunInfo,
    RunResult,
)
from tlkit.registry import Registry
from tlkit.replicas import Distribute, Replicas, mirrored, multi_worker
from tlkit.reporter import Reporter
from tlkit.run_claim import Claim
from tlkit.run_data import DataSettings, RunData, load_run_data
from tlkit.runtime import (
    environment,
    no_talk_of_retracing,
    number_of_cores,
    require_tensorflow_backend,
    runs_one_thread_per_operation,
)
from tlkit.screen import GO_ON
from tlkit.session import Session
from tlkit.subsets import Subset
from tlkit.test_time_augmentation import TestTimeAugmentation
from tlkit.worker_cluster import WorkerCluster, read_cluster
from tlkit.workflow import Workflow

Format = Literal["keras", "h5"]
_OF_THE_MACHINE = ("platform", "processor", "cpu_count")
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Trainer:
    """Trains one classifier.

    Every plugin is given as an object, as a registered name, or as a mapping with ``name`` and the
    constructor's keywords::

        Trainer(backbone="mobilenet_v2", head={"name": "dense", "units": 64}, dataset="digits")

    Attributes:
        one_thread_per_operation: How ``run()`` starts TensorFlow, if nothing has started it yet;
            see ``tlkit.runtime.require_tensorflow_backend()``. It holds for the whole process, so
            it is the command line that sets it.
        listeners: Told the same events as the reporters, before them; no part of the config.
        digests: Those of the images that the data set will give, where the caller knows that they
            are the same objects as in an earlier run; None to compute them.
        comparison: The folder of the comparison that this run is a cell of; reporters are told.
    """

    def __init__(
        self,
        backbone: Backbone | str | Mapping[str, Any] = "mobilenet_v2",
        head: Head | str | Mapping[str, Any] = "dense",
        dataset: DatasetSource | str | Mapping[str, Any] = "cifar10",
        workflow: Workflow | str | Mapping[str, Any] = "freeze_and_train",
        reporters: Sequence[Reporter | str | Mapping[str, Any]] = ("rich",),
        *,
        engine: Engine | str | Mapping[str, Any] = "auto",
        name: str = "run",
        seed: int = 0,
        validation: float | Literal["test"] = 0.1,
        duplicates: DuplicatesChoice = "report",
        save: Sequence[Format] = ("keras",),
        calibrate: bool = False,
        few_shot: int = 0,
        test_images: bool = True,
        distribute: Distribute = "none",
        start_from: Path | str | None = None,
        old_classes: OldClasses = "error",
        feature_type: FeatureType = "float32",
        views: int = 0,
        augmentation: Augmentation | None = None,
        test_time_augmentation: TestTimeAugmentation | None = None,
        runs: Path | str | None = "runs",
        store: FeatureStore | Path | str | None = None,
        registry: Registry | None = None,
    ) -> None:
        """Make the plugins; nothing is loaded or computed before ``run()``.

        Args:
            backbone: The pretrained network.
            head: The classifier on top of it.
            dataset: Where the images come from.
            workflow: The order of training.
            reporters: What shows the run; an empty list for silence.
            engine: What runs the frozen backbone; ``"auto"`` for the fastest installed engine
                whose features equal TensorFlow's on images of this data set. A mapping may say
                where it runs: ``{"name": "auto", "distribute": "ray", "ray": {"address":
                "auto"}}`` for the workers of a Ray cluster, with the keys of ``RayCluster``; its
                ``name`` may be an ``Engine`` too.
            name: Name of the run and of its folder: letters, digits, ``.``, ``_``, ``-``.
            seed: Seed of the splits, the weights, the dropout and the batches; 0 to 2**32 - 1.
            validation: Share of the training images to validate on, above 0 and below 1, drawn
                evenly from the classes; or ``"test"`` to validate on the test set, as the original
                exercise does. Ignored where the dataset brings validation images.
            duplicates: What to do where test or validation images are also training images:
                ``"report"`` them, end with an ``"error"``, or ``"drop"`` them out of training.
            save: Formats to save the model in.
            calibrate: Whether the saved model divides its logits by the temperature that is fitted
                on the validation images, so that its probabilities can be believed more; the test
                figures are then those of that model. Where validation is the test set ``run()``
                refuses it once the data is loaded.
            few_shot: Train on so many images of each class, and validate on as many, drawn with the
                seed; 0 for all.
            test_images: Whether the run folder keeps small pictures of up to 800 test images, at
                most 1.5 MB, so that reports can show them.
            distribute: What shares each batch of fine-tuning: ``"mirrored"`` for the GPUs of this
                machine, ``"multi_worker"`` for the machines that the environment variable TF_CONFIG
                lists, of which worker 0 keeps the run folder and reports.
            start_from: The folder of a finished run: its backbone's weights, and those of its head
                if it is the same one, are what this run begins with; None for the backbone's own.
            old_classes: What to do about classes of that run which the data lacks: end with an
                ``"error"``, ``"drop"`` them, or ``"replay"`` their images from that run's own data.
            feature_type: Number type of stored features; ``"float16"`` takes half the space.
            views: Augmented views of each training image that are stored beside the plain one, 0
                or more; an epoch takes one of them at random.
            augmentation: How the views differ from the image.
            test_time_augmentation: Fixed views of each image that the head is trained on as well,
                and whose logits the saved model averages; by default the image alone.
            runs: Where run folders are made, also a URL such as ``s3://bucket/runs``; None to save
                nothing.
            store: Where features are kept; by default the user's cache folder. A folder or a URL,
                such as ``"s3://bucket/features"``, is shared with other machines: the cache folder
                then holds the working copy.
            registry: Where names are looked up; by default the built-in and installed plugins.

        Raises:
            UnknownPluginError: If a name is not registered.
            ConfigError: If an option or argument is not allowed.
        """
        self._registry = registry
        self.backbone: Backbone = self._plugin(Backbone, backbone)
        self.head: Head = self._plugin(Head, head)
        self.dataset: DatasetSource = self._plugin(DatasetSource, dataset)
        self.workflow: Workflow = self._plugin(Workflow, workflow)
        self.reporters: list[Reporter] = [self._plugin(Reporter, item) for item in reporters]
        engine, self.cluster = _cluster_of(engine)
        self.engine: Engine | None = self._engine(engine)
        self.feature_type: FeatureType = feature_type
        self.views = views
        self.augmentation = augmentation if augmentation is not None else Augmentation()
        self.test_time_augmentation = test_time_augmentation or TestTimeAugmentation()
        self.name, self.seed, self.validation = name, seed, validation
        self.duplicates: DuplicatesChoice = duplicates
        self.save = tuple(save)
        self.calibrate = calibrate
        self.few_shot = few_shot
        self.test_images = test_images
        self.distribute: Distribute = distribute
        # Whole, so that the saved config means the same run from any folder.
        self.start_from = None if start_from is None else local_place(start_from).absolute()
        self.old_classes: OldClasses = old_classes
        self.runs = None if runs is None else local_place(runs)
        if isinstance(store, (str, Path)):
            store = shared_store(store)
        self.store = store if store is not None else FeatureStore()
        self.notes: list[str] = []
        self.one_thread_per_operation = False
        self._threads_as_begun: bool | None = None
        self.listeners: list[Reporter] = []
        self.digests: KnownDigests | None = None
        self._known = KnownDigests()
        self.comparison: Path | None = None
        self._extraction: RayExtraction | None = None
        self._replicas: Replicas | None = None
        self._workers: WorkerCluster | None = None
        self._check()

    @property
    def config(self) -> dict[str, Any]:
        """The resolved config: every setting, defaults included."""
        return {
            "run": {
                "name": self.name,
                "seed": self.seed,
                "validation": self.validation,
                "duplicates": self.duplicates,
                "save": list(self.save),
                "calibrate": self.calibrate,
                "few_shot": self.few_shot,
                "test_images": self.test_images,
                **({} if self.distribute == "none" else {"distribute": self.distribute}),
                **self._origin(),
            },
            "dataset": _table(self.dataset),
            "backbone": _table(self.backbone),
            "head": _table(self.head),
            "workflow": _table(self.workflow),
            "engine": {
                **({"name": "auto"} if self.engine is None else _table(self.engine)),
                **self._distribution(),
            },
            "features": {
                "dtype": self.feature_type,
                "views": self.views,
                **asdict(self.augmentation),
                **({"store": self.store.shared} if self.store.shared else {}),
            },
            "test_time_augmentation": {
                "mirror": self.test_time_augmentation.mirror,
                "scales": list(self.test_time_augmentation.scales),
            },
            "reporters": [_table(reporter) for reporter in self.reporters],
        }

    @property
    def data_settings(self) -> DataSettings:
        """How the data is taken."""
        return DataSettings(self.seed, self.validation, self.duplicates, self.few_shot)

    def _origin(self) -> dict[str, str]:
        """Return the keys that only a run has that starts from another."""
        if self.start_from is None:
            return {}
        return {"start_from": with_urls(str(self.start_from)), "old_classes": self.old_classes}

    def _distribution(self) -> dict[str, Any]:
        """Return the keys that only a run has whose features are computed on a cluster."""
        if self.cluster is None:
            return {}
        options = self.cluster.options
        return {"distribute": "ray", **({"ray": options} if options else {})}

    def run(self) -> RunResult:
        """Load, train, test, save and report.

        Returns:
            The result, with the trained model in ``result.model``.

        Raises:
            TlkitError: If the input is bad or the training fails; see ``tlkit.errors``.
        """
        return self._watched(None)

    def resume(self, folder: Path | str) -> RunResult:
        """Go on with a run that was begun and not finished.

        The extraction goes on after the last whole shard, the training after the last epoch, with
        the state of the optimizer and of the random generators, so that the figures are those of a
        run that was never interrupted.

        Args:
            folder: The run folder, or its URL. It must be that of a run with the config of this
                Trainer; reporters, ``name``, ``save`` and ``test_images`` may differ. TensorFlow is
                started with ``one_thread_per_operation`` as it was then, if nothing has started it
                yet.

        Returns:
            The result, with the trained model in ``result.model``.

        Raises:
            RunFolderError: If the folder is not that of an unfinished run with this config, or a
                run is at work in it, or the data set or the weights are other ones now.
            TlkitError: As ``run()`` does.
        """
        folder = local_place(folder)
        if self.distribute == "multi_worker" and not read_cluster().is_chief:
            self._threads_as_begun = run_folder.begun_facts(folder).get("one_thread_per_operation")
            return self._watched(None)  # the state comes from the chief
        with run_mirror.taken_over(folder) as claim:
            run_folder.check_unfinished(folder, self.config)
            self._threads_as_begun = run_folder.begun_facts(folder).get("one_thread_per_operation")
            return self._watched(folder, claim)

    def _watched(self, resumed: Path | None, claim: Claim | None = None) -> RunResult:
        self._workers = read_cluster() if self.distribute == "multi_worker" else None
        events = Events([*self.listeners, *([] if self._follows else self.reporters)])
        try:
            # Around all threads that read pictures: the filters are the whole process's.
            with (
                without_warnings(),
                no_talk_of_retracing(),
                plugin_warnings(events.warnings.append),
            ):
                engines = self._engines()
                if self._registry is not None:
                    events.warnings += dict.fromkeys(self._registry.warnings)
                with self._connected():
                    return self._run(events, engines, resumed, claim)
        except BaseException as err:
            events.emit("on_error", err)
            raise

    @property
    def _follows(self) -> bool:
        """Whether another worker keeps the run folder and reports."""
        return self._workers is not None and not self._workers.is_chief

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Keep what computes features elsewhere ready, and leave it at the end."""
        self._extraction = None if self.cluster is None else RayExtraction(self.cluster)
        try:
            yield
        finally:
            if self._extraction is not None:
                self._extraction.close()

    def try_out(
        self, loaded: RunData, digests: KnownDigests, trunk: Trunk | None = None
    ) -> Session:
        """Train on data that is loaded, and neither test nor save: what a trial of a sweep is.

        Only the listeners are told; the reporters are not.

        Args:
            loaded: The data, split by this Trainer's settings.
            digests: Those of its images; what is missing is added.
            trunk: What stands before the head, frozen, from an earlier run of the same backbone,
                pooling and seed; None to build it.

        Returns:
            The session after the training: its phases, and where the time went.

        Raises:
            TlkitError: If a plugin or the training fails.
        """
        events = Events(self.listeners)
        with without_warnings(), no_talk_of_retracing(), plugin_warnings(events.warnings.append):
            engines = self._engines()
            self.start_tensorflow()
            self._import_modules()
            names, subsets = loaded.data.class_names, loaded.subsets
            with self._connected():
                session = self._session(
                    names, subsets, events, engines, digests, Checkpoints(), trunk
                )
                with plugin_call(self.workflow, "run()"):
                    self.workflow.run(session)
        if not session.phases:
            raise PluginError(f"{describe_plugin(self.workflow)} trained nothing.")
        return session

    def start_tensorflow(self) -> None:
        """Import TensorFlow as this run wants it; ``run()`` does so too."""
        # Beyond that many cores the threads of the extraction alone would not use all of them.
        single = self.one_thread_per_operation and number_of_cores() <= MAX_WORKERS
        if self._threads_as_begun is not None:
            single = self._threads_as_begun
        if self.distribute != "multi_worker":
            require_tensorflow_backend(one_thread_per_operation=single)
            self._replicas = mirrored() if self.distribute == "mirrored" else None
            return
        workers = self._workers or read_cluster()

        def join() -> None:
            self._replicas = multi_worker(workers)

        require_tensorflow_backend(one_thread_per_operation=single, join=join)

    def _run(
        self, events: Events, engines: EngineChooser, resumed: Path | None, claim: Claim | None
    ) -> RunResult:
        begin, now = time.monotonic(), datetime.now().astimezone()
        seconds: dict[str, float] = {}
        # For the leakage search and the fingerprint, so that files are read once for both.
        self._known = self.digests if self.digests is not None else KnownDigests()
        with _stage(events, seconds, "start"):
            self.start_tensorflow()
            self._import_modules()
        with _stage(events, seconds, "data"):
            heritage = self._heritage()
            try:
                loaded = self._load(heritage)
            except TlkitError as err:
                if resumed is not None:
                    run_folder.note_relative_paths(err, resumed, self.dataset.options)
                raise
            if heritage is not None:
                _, notes = heritage.begin(loaded, self.head, self.duplicates)
                loaded = replace(loaded, notes=(*loaded.notes, *notes))
        with self._folder(resumed, claim, events) as (folder, kept):
            began = kept.began(now.isoformat(timespec="seconds"))
            session, result = self._train(
                loaded, heritage, events, engines, seconds, folder, kept, began
            )
            return self._finish(result, loaded.data, session, begin - kept.restored_seconds)

    def _heritage(self) -> Heritage | None:
        if self.start_from is None:
            return None
        parent = read_parent(self.start_from)
        check_backbone(parent, _table(self.backbone))
        if self._registry is None:
            self._registry = Registry()
        return Heritage(parent, self.old_classes, self._registry, self.digests)

    def _load(self, heritage: Heritage | None) -> RunData:
        loaded = load_run_data(
            self.dataset,
            self.data_settings,
            self._known if heritage is None else heritage.digests,
            None if heritage is None else heritage.replay_for,
        )
        if self.calibrate and loaded.on_test:
            raise ConfigError(
                "[run] calibrate = true is not allowed with validation = 'test': a temperature "
                "fitted on the test images would flatter the test figures. Set validation to a "
                "share of the training images, such as 0.1."
            )
        return loaded

    @contextmanager
    def _folder(
        self, resumed: Path | None, claim: Claim | None, events: Events
    ) -> Iterator[tuple[Path | None, Checkpoints]]:
        """Yield the run folder and its checkpoints.

        A run that is refused leaves none; one that the machine stopped, as by a full disk, can be
        resumed as one that was interrupted.
        """
        folder = resumed
        if folder is None and self.runs is not None and not self._follows:
            folder, claim = run_mirror.create(self.runs, self.name)
        if folder is None:
            yield None, Checkpoints()
            return
        if resumed is not None:
            run_folder.find_unfinished(folder)  # another process may have ended it by now
        missing = resumed is not None and not run_folder.has_checkpoints(folder)
        with (
            run_mirror.mirrored(folder, claim, events.warnings),
            run_folder.own(folder) as checkpoints,
        ):
            if resumed is not None:
                remove_unfinished(folder)
            # Also where it is resumed with other reporters: the config is that of the result.
            run_folder.write_config(folder, self.config)
            try:
                yield (
                    folder,
                    Checkpoints(checkpoints, events.warnings, resumed is not None, missing),
                )
            except TlkitError as err:
                if run_folder.has_begun(folder) and _came_from_the_machine(err):
                    err.add_note(f"{GO_ON}{command_line(['resume', str(folder)])}")
                elif resumed is None and not isinstance(err, RunFolderError):
                    run_folder.discard(folder)
                raise

    def _train(
        self,
        loaded: RunData,
        heritage: Heritage | None,
        events: Events,
        engines: EngineChooser,
        seconds: dict[str, float],
        folder: Path | None,
        checkpoints: Checkpoints,
        began: str,
    ) -> tuple[Session, RunResult]:
        data, subsets = loaded.data, loaded.subsets
        digests = self._known
        if heritage is not None:
            digests = heritage.digests
        info = RunInfo(
            name=self.name,
            folder=folder,
            config=self.config,
            class_names=data.class_names,
            num_train=len(subsets["train"].rows),
            num_validation=len(subsets["validation"].rows),
            num_test=len(subsets["test"].rows),
            notes=(*self.notes, *data.notes, *loaded.notes, *checkpoints.review()),
            idle_options={
                plugin.kind: plugin.idle_options()
                for plugin in (self.dataset, self.backbone, self.head)
            }
            | {
                self.workflow.kind: self.workflow.idle_options(self.head),
                "features": self._idle_features(),
            },
            class_counts=_class_counts(subsets["train"], len(data.class_names)),
            duplicates=loaded.leakage.counts,
            validates_on_test=loaded.on_test,
            began=began,
            lineage=None if heritage is None else heritage.lineage,
        )
        announce = functools.partial(
            events.emit,
            "on_run_begin",
            info,
            pictures=data.pictures,
            duplicates=loaded.leakage.pairs,
            comparison=self.comparison,
        )
        # Where a resumed run goes on is not said before it is sure that it may.
        if not checkpoints.resumed:
            announce()
        with _stage(events, seconds, "model"):
            session = self._session(
                data.class_names, subsets, events, engines, digests, checkpoints
            )
            if heritage is not None:
                heritage.take_over(session)
            fingerprints = {
                **digest_splits(data, digests),
                "labels": loaded.labels_digest,
                "weights": digest_weights(session.model.backbone),
            }
            if heritage is not None:
                fingerprints["parent"] = heritage.parent.digest
            versions = environment(self._modules())
            config = run_folder.config_text(self.config)
            checkpoints.begin(
                {
                    "began": began,
                    "config": config,
                    "fingerprints": fingerprints,
                    "versions": versions,
                    "one_thread_per_operation": runs_one_thread_per_operation(),
                    "working_folder": str(Path.cwd()),
                }
            )
            if self._replicas is not None:
                packages = {key: versions[key] for key in versions if key not in _OF_THE_MACHINE}
                self._replicas.check_equal(
                    {**settings_of_figures(config), **fingerprints, **packages}
                )
        if checkpoints.resumed:
            announce()
        with plugin_call(self.workflow, "run()"):
            self.workflow.run(session)
        if not session.phases:
            raise PluginError(f"{describe_plugin(self.workflow)} trained nothing.")
        if not session.fine_tuned:
            # Now, so that their time counts as that of features and not of the evaluation.
            for view in session.test_time_augmentation.views:
                if not loaded.on_test:
                    session.features("validation", fixed=view)
                session.features("test", fixed=view)
        with _stage(events, seconds, "evaluation"):
            test, model, validation = self._test(session, data.class_names)
        if heritage is not None:
            info = replace(info, lineage=heritage.end(test, data.class_names))
        return session, RunResult(
            info=info,
            phases=tuple(session.phases),
            test=test,
            seconds=seconds | session.seconds,
            fingerprints=fingerprints,
            environment=versions | ({} if self._replicas is None else self._replicas.record),
            feature_cache=dict(session.log.feature_cache),
            extractions=tuple(session.log.extractions),
            engine_trials=tuple(session.engines.trials),
            warnings=tuple(events.warnings),
            model=model,
            test_images=data.test.images,
            validation=validation,
        )

    def _test(
        self, session: Session, class_names: Sequence[str]
    ) -> tuple[Evaluation, Any, tuple[Int64Array, Float32Array] | None]:
        """Return the test figures, the model that they are of, and its validation answers."""
        answered = None if session.validates_on_test else session.logits("validation")
        temperature, reason = _fit_temperature(answered)
        applied = temperature if self.calibrate else None
        if self.calibrate and applied is None:
            session.events.warnings.append(f"The model is not calibrated: {reason}.")
        logits, labels = session.logits("test")
        calibration = measure_calibration(
            labels, logits, temperature, reason=reason, applied=applied is not None
        )
        test = evaluate(labels, softmax(logits, applied or 1.0), class_names, calibration)
        validation = None
        if answered is not None:
            validation = answered[1], softmax(answered[0], applied or 1.0)
        model = with_temperature(session.model, applied) if applied else session.model.model
        return test, model, validation

    def _idle_features(self) -> tuple[str, ...]:
        """Return the settings of random views where there are none."""
        return () if self.views or self.workflow.fine_tunes else tuple(asdict(self.augmentation))

    def _modules(self) -> set[str]:
        plugins = (self.backbone, self.head, self.dataset, self.workflow, *self.reporters)
        return {
            module for plugin in plugins for module in (type(plugin).__module__, *plugin.modules)
        }

    def _import_modules(self) -> None:
        for plugin in (self.backbone, self.head, self.dataset, self.workflow, *self.reporters):
            for module in plugin.modules:
                try:
                    importlib.import_module(module)
                except ImportError as err:
                    how = f"pip install {plugin.install}" if plugin.install else "Install it"
                    raise PluginError(
                        f"{describe_plugin(plugin)} needs {module}, which cannot be imported: "
                        f"{err}. {how}, or leave the {plugin.kind} out."
                    ) from err
        importlib.import_module("sklearn.metrics")

    def _finish(
        self, result: RunResult, data: ImageData, session: Session, begin: float
    ) -> RunResult:
        events = session.events
        events.emit("on_stage", "saving")
        saving = time.monotonic()
        if result.folder is not None:
            run_folder.save(result.folder, result, self.save)
            if self.test_images:
                events.warnings += _keep_test_images(result, data.test.names)
        now = time.monotonic()
        result = replace(
            result,
            seconds={**result.seconds, "saving": now - saving, "total": now - begin},
            warnings=tuple(events.warnings),
        )
        events.emit("on_stage", "reports")
        events.emit(
            "on_run_end",
            result,
            test_names=data.test.names,
            test_features=functools.partial(session.features_of, "test"),
        )
        # Reporters cannot be told how long they took; the record and the caller are.
        end = time.monotonic()
        seconds = {**result.seconds, "reports": end - now, "total": end - begin}
        result = replace(result, seconds=seconds, warnings=tuple(events.warnings))
        if result.folder is not None:
            run_folder.finish(result.folder, result)
        return result

    def _session(
        self,
        class_names: tuple[str, ...],
        subsets: Mapping[Any, Subset],
        events: Events,
        engines: EngineChooser,
        digests: KnownDigests,
        checkpoints: Checkpoints,
        trunk: Trunk | None = None,
    ) -> Session:
        import keras

        from tlkit.model import assemble, fits_h5

        keras.utils.set_random_seed(self.seed)
        network = build_backbone(self.backbone) if trunk is None else None
        # A head starts from the same weights whatever the backbone drew before it.
        keras.utils.set_random_seed(self.seed)
        model = assemble(
            self.backbone,
            self.head,
            len(class_names),
            network=network,
            views=self.test_time_augmentation.views,
            trunk=trunk,
        )
        if trunk is None and "h5" in self.save and not fits_h5(model.model):
            raise ConfigError(
                f"[run] save = 'h5' is not allowed for {self.backbone.name} with {self.head.name}: "
                f"Keras cannot read operations without a layer, such as those of "
                f"[test_time_augmentation], or networks of other libraries, back from .h5. Use "
                f"save = ['keras']."
            )
        return Session(
            model=model,
            backbone=self.backbone,
            head=self.head,
            class_names=class_names,
            subsets=subsets,
            store=self.store,
            engines=engines,
            events=events,
            seed=self.seed,
            feature_type=self.feature_type,
            views=self.views,
            augmentation=self.augmentation,
            test_time_augmentation=self.test_time_augmentation,
            digests=digests,
            checkpoints=checkpoints,
            cluster=self._extraction,
            replicas=self._replicas,
        )

    def _engine(self, given: Any) -> Engine | None:
        if isinstance(given, Mapping) and given.get("name") == "auto":
            extra = [key for key in given if key != "name"]
            if extra:
                raise ConfigError(
                    f"[engine] {extra[0]} is not allowed with name = 'auto': name the engine that "
                    f"it is for, such as name = 'openvino'."
                )
            return None
        engine: Engine | None = None if given == "auto" else self._plugin(Engine, given)
        return engine

    def _engines(self) -> EngineChooser:
        if self._registry is None:
            self._registry = Registry()
        candidates, left_out = self._registry.engines()
        self.notes += left_out
        return EngineChooser(self.engine, candidates, engines_folder(self.store.folder))

    def _plugin(self, base: type[Plugin], given: Any) -> Any:
        if isinstance(given, base):
            return given
        if isinstance(given, str):
            given = {"name": given}
        if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
            raise ConfigError(
                f"Cannot use {given!r} as {base.kind}. Allowed: a {base.__name__} object, a "
                f"registered name, or a mapping with 'name' and options."
            )
        if self._registry is None:
            self._registry = Registry()
        options = {key: value for key, value in given.items() if key != "name"}
        where = f"{base.kind} in Python"
        return self._registry.create(base.kind, given["name"], where, **options)

    def _check(self) -> None:
        if not NAME_PATTERN.fullmatch(self.name):
            raise ConfigError(
                f"Run name {self.name!r} is not allowed: up to 100 letters, digits, '.', '_' and "
                f"'-', the first a letter or digit."
            )
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"Seed {self.seed} is not allowed: 0 to 4294967295.")
        if self.validation != "test" and not (
            isinstance(self.validation, float) and 0 < self.validation < 1
        ):
            raise ConfigError(
                f"validation = {self.validation!r} is not allowed: a share of the training images "
                f"above 0 and below 1, or 'test'."
            )
        if self.duplicates not in ("report", "error", "drop"):
            raise ConfigError(
                f"duplicates = {self.duplicates!r} is not allowed: 'report', 'error', 'drop'."
            )
        if self.distribute not in ("none", "mirrored", "multi_worker"):
            raise ConfigError(
                f"[run] distribute = {self.distribute!r} is not allowed: 'none', 'mirrored', "
                f"'multi_worker'."
            )
        if self.distribute != "none" and not self.workflow.fine_tunes:
            raise ConfigError(
                f"[run] distribute = {self.distribute!r} shares the batches of fine-tuning, and "
                f"the workflow '{self.workflow.name}' trains the head alone, which takes seconds. "
                f"Set [workflow] fine_tune_epochs, or distribute = 'none'."
            )
        if self.old_classes not in ("error", "drop", "replay"):
            raise ConfigError(
                f"[run] old_classes = {self.old_classes!r} is not allowed: 'error', 'drop', "
                f"'replay'."
            )
        if self.old_classes != "error" and self.start_from is None:
            raise ConfigError(
                f"[run] old_classes = {self.old_classes!r} is about a run that this one starts "
                f"from; name it: [run] start_from, or tlkit run --from RUN."
            )
        if self.feature_type not in ("float32", "float16"):
            raise ConfigError(
                f"[features] dtype = {self.feature_type!r} is not allowed: 'float32', 'float16'."
            )
        if self.few_shot < 0:
            raise ConfigError(f"[run] few_shot = {self.few_shot} is not allowed: 0 or more.")
        if self.views < 0:
            raise ConfigError(f"[features] views = {self.views} is not allowed: 0 or more.")
        unknown = [item for item in self.save if item not in ("keras", "h5")]
        if unknown or not self.save:
            raise ConfigError(f"save = {list(self.save)!r} is not allowed: 'keras', 'h5' or both.")


def _keep_test_images(result: RunResult, names: Sequence[str]) -> list[str]:
    """Write the thumbnails; return what went wrong, since a run is whole without them."""
    assert result.folder is not None
    assert result.test_images is not None
    try:
        problem = thumbnails.save(result.folder, result.test, result.test_images, names)
    except OSError as err:
        problem = f"Cannot keep test images in {result.folder}: {err.strerror or err}"
    return [problem] if problem else []


def _came_from_the_machine(err: BaseException) -> bool:
    """Return whether it began with what the system refused, or lost: a full disk, a worker."""
    if isinstance(err, (StoreFailedError, WorkerLostError)):
        return True
    if isinstance(err, RunFolderError) or err.__cause__ is None:
        return False  # of its own folder a run says itself how to go on
    return isinstance(err.__cause__, OSError) or _came_from_the_machine(err.__cause__)


def _cluster_of(engine: Any) -> tuple[Any, RayCluster | None]:
    """Return what was given as engine without where it runs, and the cluster; None for none.

    Raises:
        ConfigError: If that is not allowed.
    """
    if not isinstance(engine, Mapping):
        return engine, None
    options = dict(engine)
    distribute, cluster = options.pop("distribute", "none"), options.pop("ray", {})
    if distribute not in ("none", "ray") or not isinstance(cluster, Mapping):
        raise ConfigError(
            f"[engine] distribute = {distribute!r}, ray = {cluster!r} is not allowed: 'none' or "
            f"'ray', and a table with {', '.join(RayCluster.__annotations__)}."
        )
    unknown = [key for key in cluster if key not in RayCluster.__annotations__]
    if unknown:
        raise ConfigError(
            f"Unknown key '{unknown[0]}' in [engine.ray]."
            f"{did_you_mean(str(unknown[0]), RayCluster.__annotations__)}\n"
            f"Allowed: {', '.join(RayCluster.__annotations__)}."
        )
    named = options["name"] if isinstance(options.get("name"), Engine) else options
    return named, RayCluster(**cluster) if distribute == "ray" else None


def _table(plugin: Plugin) -> dict[str, Any]:
    name = plugin.name or f"{type(plugin).__module__}.{type(plugin).__qualname__}"
    return {"name": name, **plugin.options}


def _fit_temperature(
    answered: tuple[Float32Array, Int64Array] | None,
) -> tuple[float | None, str]:
    """Return the temperature of the validation images, or None and why there is none."""
    if answered is None:
        return None, "validation is the test set"
    logits, labels = answered
    temperature = fit_temperature(labels, logits)
    allowed = f"{LEAST_TEMPERATURE:g} to {MOST_TEMPERATURE:g}"
    reason = f"the validation images set none within {allowed}"
    return temperature, reason if temperature is None else ""


def _class_counts(train: Subset, num_classes: int) -> tuple[int, ...]:
    counts = np.bincount(np.asarray(train.split.labels)[train.rows], minlength=num_classes)
    return tuple(int(count) for count in counts)


@contextmanager
def _stage(events: Events, seconds: dict[str, float], key: str) -> Any:
    events.emit("on_stage", key)
    begin = time.monotonic()
    yield
    seconds[key] = seconds.get(key, 0.0) + time.monotonic() - begin
