"""Trainer: runs a workflow over a dataset with a backbone and a head, and reports it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tlkit import run_mirror
from tlkit.augmentation import Augmentation
from tlkit.backbone import Backbone
from tlkit.checkpoint import Checkpoints
from tlkit.dataset import DatasetSource
from tlkit.engine import Engine
from tlkit.engine_choice import EngineChooser, engines_folder
from tlkit.errors import ConfigError
from tlkit.events import Events
from tlkit.feature_filling import FeatureType
from tlkit.features import FeatureStore, shared_store
from tlkit.fingerprint import KnownDigests
from tlkit.head import Head
from tlkit.images import without_warnings
from tlkit.leakage import DuplicatesChoice
from tlkit.machines import Machines
from tlkit.model import Trunk
from tlkit.parent import OldClasses
from tlkit.plugin import Plugin
from tlkit.plugin_calls import plugin_warnings
from tlkit.records import RunResult
from tlkit.registry import Registry
from tlkit.replicas import Distribute
from tlkit.reporter import Reporter
from tlkit.run_claim import Claim
from tlkit.run_data import DataSettings, RunData
from tlkit.run_session import import_modules, make_session, plugins_of, run_workflow
from tlkit.runtime import no_talk_of_retracing
from tlkit.session import Session
from tlkit.store_urls import local_place
from tlkit.test_time_augmentation import TestTimeAugmentation
from tlkit.trainer_settings import check_settings, cluster_of, config_of
from tlkit.training_run import TrainingRun
from tlkit.unfinished import begun_facts, check_unfinished
from tlkit.worker_cluster import read_cluster
from tlkit.workflow import Workflow

Format = Literal["keras", "h5"]
_DEFAULTS = {"backbone": "mobilenet_v2", "head": "dense", "workflow": "freeze_and_train"}


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
        backbone: Backbone | str | Mapping[str, Any] = _DEFAULTS["backbone"],
        head: Head | str | Mapping[str, Any] = _DEFAULTS["head"],
        dataset: DatasetSource | str | Mapping[str, Any] = "cifar10",
        workflow: Workflow | str | Mapping[str, Any] = _DEFAULTS["workflow"],
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
            backbone: The pretrained network: an object, a registered name, or a mapping with
                options and mostly a ``name``; without, it is of the default, as in a config. The
                head and the workflow likewise.
            head: The classifier on top of it.
            dataset: Where the images come from; a mapping needs a ``name``.
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
        engine, self.cluster = cluster_of(engine)
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
        self.listeners: list[Reporter] = []
        self.digests: KnownDigests | None = None
        self.comparison: Path | None = None
        self._machines = Machines(distribute, self.cluster)
        check_settings(self)

    @property
    def config(self) -> dict[str, Any]:
        """The resolved config: every setting, defaults included."""
        return config_of(self)

    @property
    def data_settings(self) -> DataSettings:
        """How the data is taken."""
        return DataSettings(self.seed, self.validation, self.duplicates, self.few_shot)

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
            self._machines.threads_as_begun = _threads_as_begun(folder)
            return self._watched(None)  # the state comes from the chief
        with run_mirror.taken_over(folder) as claim:
            check_unfinished(folder, self.config)
            self._machines.threads_as_begun = _threads_as_begun(folder)
            return self._watched(folder, claim)

    def _watched(self, resumed: Path | None, claim: Claim | None = None) -> RunResult:
        self._machines.read_workers()
        events = Events([*self.listeners, *([] if self._machines.follows else self.reporters)])
        try:
            # Around all threads that read pictures: the filters are the whole process's.
            with (
                without_warnings(),
                no_talk_of_retracing(),
                plugin_warnings(events.warnings.append),
            ):
                registry = self._known_plugins()
                engines = self._engines()
                events.warnings += dict.fromkeys(registry.warnings)
                run = TrainingRun(self, registry, engines, events, self._machines)
                with self._machines.connected():
                    return run.run(resumed, claim)
        except BaseException as err:
            events.emit("on_error", err)
            raise

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
            import_modules(plugins_of(self))
            with self._machines.connected():
                session = make_session(
                    self,
                    loaded.data.class_names,
                    loaded.subsets,
                    events=events,
                    engines=engines,
                    digests=digests,
                    checkpoints=Checkpoints(),
                    machines=self._machines,
                    trunk=trunk,
                )
                run_workflow(self, session)
        return session

    def start_tensorflow(self) -> None:
        """Import TensorFlow as this run wants it; ``run()`` does so too."""
        self._machines.start_tensorflow(one_thread_per_operation=self.one_thread_per_operation)

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
        candidates, left_out = self._known_plugins().engines()
        self.notes += left_out
        return EngineChooser(self.engine, candidates, engines_folder(self.store.folder))

    def _plugin(self, base: type[Plugin], given: Any) -> Any:
        if isinstance(given, base):
            return given
        if isinstance(given, str):
            given = {"name": given}
        if isinstance(given, Mapping) and base.kind in _DEFAULTS:
            given = {"name": _DEFAULTS[base.kind], **given}
        if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
            raise ConfigError(
                f"Cannot use {given!r} as {base.kind}. Allowed: a {base.__name__} object, a "
                f"registered name, or a mapping with 'name' and options."
            )
        options = {key: value for key, value in given.items() if key != "name"}
        where = f"{base.kind} in Python"
        return self._known_plugins().create(base.kind, given["name"], where, **options)

    def _known_plugins(self) -> Registry:
        """Return where names are looked up; installed plugins are found when it is first needed."""
        if self._registry is None:
            self._registry = Registry()
        return self._registry


def _threads_as_begun(folder: Path) -> bool | None:
    found: bool | None = begun_facts(folder).get("one_thread_per_operation")
    return found
