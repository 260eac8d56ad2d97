"""TrainingRun: one run of a Trainer, from the data to the reports."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tlkit import run_folder, run_mirror, thumbnails
from tlkit.changed_values import settings_of_figures
from tlkit.checkpoint import Checkpoints
from tlkit.engine_choice import EngineChooser
from tlkit.errors import ConfigError, TlkitError
from tlkit.events import Events
from tlkit.final_figures import final_figures
from tlkit.fingerprint import KnownDigests, digest_splits, digest_weights
from tlkit.held_folder import held_folder
from tlkit.heritage import Heritage
from tlkit.machines import Machines
from tlkit.options import allowed_options
from tlkit.own_layers import check_own_layers
from tlkit.parent import check_backbone, read_parent
from tlkit.records import ImageData, RunInfo, RunResult
from tlkit.registry import Registry
from tlkit.run_claim import Claim
from tlkit.run_data import RunData, load_run_data
from tlkit.run_session import import_modules, make_session, plugins_of, run_workflow
from tlkit.runtime import environment, runs_one_thread_per_operation
from tlkit.session import Session
from tlkit.subsets import Subset
from tlkit.trainer_settings import table
from tlkit.unfinished import note_relative_paths

if TYPE_CHECKING:
    from tlkit.trainer import Trainer

_OF_THE_MACHINE = ("platform", "processor", "cpu_count")


class TrainingRun:
    """One run under way; it is run once."""

    def __init__(
        self,
        trainer: Trainer,
        registry: Registry,
        engines: EngineChooser,
        events: Events,
        machines: Machines,
    ) -> None:
        """Keep them; nothing is loaded.

        Args:
            trainer: Its plugins and settings are those of the run.
            registry: Where the plugins of an earlier run are looked up.
            engines: Chooses what runs the frozen backbone.
            events: Tells the reporters.
            machines: What the run computes on.
        """
        self._trainer, self._registry = trainer, registry
        self._engines, self._events, self._machines = engines, events, machines
        self._seconds: dict[str, float] = {}
        # For the leakage search and the fingerprint, so that files are read once for both.
        self._digests = trainer.digests if trainer.digests is not None else KnownDigests()
        self._heritage: Heritage | None = None

    def run(self, resumed: Path | None, claim: Claim | None) -> RunResult:
        """Load, train, test, save and report.

        Args:
            resumed: The folder of the run where an earlier process began it.
            claim: That folder at its URL, which this process owns, if it has one.

        Raises:
            TlkitError: If the input is bad or the training fails.
        """
        begin, now = time.monotonic(), datetime.now().astimezone()
        with self._stage("start"):
            self._trainer.start_tensorflow()
            import_modules(plugins_of(self._trainer))
        with self._stage("data"):
            loaded = self._load(resumed)
        with self._folder(resumed, claim) as (folder, checkpoints):
            began = checkpoints.began(now.isoformat(timespec="seconds"))
            session, result = self._train(loaded, folder, checkpoints, began)
            return self._finish(result, loaded.data, session, begin - checkpoints.restored_seconds)

    def _load(self, resumed: Path | None) -> RunData:
        """Return the data, and take up the run that this one starts from."""
        trainer = self._trainer
        if trainer.start_from is not None:
            parent = read_parent(trainer.start_from)
            check_backbone(parent, table(trainer.backbone))
            self._heritage = Heritage(parent, trainer.old_classes, self._registry, trainer.digests)
            self._digests = self._heritage.digests
        try:
            loaded = self._load_data()
        except TlkitError as err:
            if resumed is not None:
                note_relative_paths(err, resumed, trainer.dataset.options)
            raise
        if self._heritage is not None:
            _, notes = self._heritage.begin(loaded, trainer.head, trainer.duplicates)
            loaded = replace(loaded, notes=(*loaded.notes, *notes))
        return loaded

    def _load_data(self) -> RunData:
        loaded = load_run_data(
            self._trainer.dataset,
            self._trainer.data_settings,
            self._digests,
            None if self._heritage is None else self._heritage.replay_for,
        )
        if self._trainer.calibrate and loaded.on_test:
            raise ConfigError(
                "[run] calibrate = true is not allowed with validation = 'test': a temperature "
                "fitted on the test images would flatter the test figures. Set validation to a "
                "share of the training images, such as 0.1."
            )
        return loaded

    @contextmanager
    def _folder(
        self, resumed: Path | None, claim: Claim | None
    ) -> Iterator[tuple[Path | None, Checkpoints]]:
        """Yield the run folder and its checkpoints."""
        trainer, folder = self._trainer, resumed
        if folder is None and trainer.runs is not None and not self._machines.follows:
            folder, claim = run_mirror.create(trainer.runs, trainer.name)
        if folder is None:
            yield None, Checkpoints()
            return
        with held_folder(
            folder, claim, trainer.config, self._events.warnings, resumed=resumed is not None
        ) as checkpoints:
            yield folder, checkpoints

    def _train(
        self, loaded: RunData, folder: Path | None, checkpoints: Checkpoints, began: str
    ) -> tuple[Session, RunResult]:
        events, heritage = self._events, self._heritage
        info = self._info(loaded, folder, checkpoints, began)
        # Where a resumed run goes on is not said before it is sure that it may.
        if not checkpoints.resumed:
            self._announce(info, loaded)
        with self._stage("model"):
            session = self._make_session(loaded, checkpoints)
            if folder is not None:
                plugins = (self._trainer.backbone, self._trainer.head)
                if problem := check_own_layers(session.model.model, plugins):
                    events.warnings.append(problem)
            fingerprints = self._fingerprints(loaded, session)
            versions = environment(self._modules())
            self._note_beginning(checkpoints, began, fingerprints, versions)
        if checkpoints.resumed:
            self._announce(info, loaded)
        run_workflow(self._trainer, session)
        if not session.fine_tuned:
            _complete_features(session, loaded.on_test)
        with self._stage("evaluation"):
            figures = final_figures(session, self._trainer.calibrate)
        if heritage is not None:
            info = replace(info, lineage=heritage.end(figures.test, session.class_names))
        replicas = self._machines.replicas
        return session, RunResult(
            info=info,
            phases=tuple(session.phases),
            test=figures.test,
            seconds=self._seconds | session.seconds,
            fingerprints=fingerprints,
            environment=versions | ({} if replicas is None else replicas.record),
            feature_cache=dict(session.log.feature_cache),
            extractions=tuple(session.log.extractions),
            engine_trials=tuple(session.engines.trials),
            warnings=tuple(events.warnings),
            model=figures.model,
            test_images=loaded.data.test.images,
            validation=figures.validation,
        )

    def _info(
        self, loaded: RunData, folder: Path | None, checkpoints: Checkpoints, began: str
    ) -> RunInfo:
        """Return what is known of the run before the model is there."""
        trainer, data, subsets = self._trainer, loaded.data, loaded.subsets
        return RunInfo(
            name=trainer.name,
            folder=folder,
            config=trainer.config,
            class_names=data.class_names,
            num_train=len(subsets["train"].rows),
            num_validation=len(subsets["validation"].rows),
            num_test=len(subsets["test"].rows),
            notes=(
                *trainer.notes,
                *data.notes,
                *loaded.notes,
                *_random_and_frozen(trainer),
                *_fine_tuning_that_is_off(trainer),
                *checkpoints.review(),
            ),
            idle_options={
                plugin.kind: plugin.idle_options()
                for plugin in (trainer.dataset, trainer.backbone, trainer.head)
            }
            | {
                trainer.workflow.kind: trainer.workflow.idle_options(trainer.head),
                "features": self._idle_features(),
            },
            class_counts=_class_counts(subsets["train"], len(data.class_names)),
            duplicates=loaded.leakage.counts,
            validates_on_test=loaded.on_test,
            began=began,
            lineage=None if self._heritage is None else self._heritage.lineage,
        )

    def _idle_features(self) -> tuple[str, ...]:
        """Return the settings of random views where there are none."""
        trainer = self._trainer
        used = trainer.views or trainer.workflow.fine_tunes
        return () if used else tuple(asdict(trainer.augmentation))

    def _announce(self, info: RunInfo, loaded: RunData) -> None:
        self._events.emit(
            "on_run_begin",
            info,
            pictures=loaded.data.pictures,
            duplicates=loaded.leakage.pairs,
            comparison=self._trainer.comparison,
        )

    def _make_session(self, loaded: RunData, checkpoints: Checkpoints) -> Session:
        session = make_session(
            self._trainer,
            loaded.data.class_names,
            loaded.subsets,
            events=self._events,
            engines=self._engines,
            digests=self._digests,
            checkpoints=checkpoints,
            machines=self._machines,
        )
        if self._heritage is not None:
            self._heritage.take_over(session)
        return session

    def _fingerprints(self, loaded: RunData, session: Session) -> dict[str, str]:
        """Return the SHA-256 of what the run is made of: its data, and the weights."""
        fingerprints = {
            **digest_splits(loaded.data, self._digests),
            "labels": loaded.labels_digest,
            "weights": digest_weights(session.model.backbone),
        }
        if self._heritage is not None:
            fingerprints["parent"] = self._heritage.parent.digest
        return fingerprints

    def _modules(self) -> set[str]:
        return {
            module
            for plugin in plugins_of(self._trainer)
            for module in (type(plugin).__module__, *plugin.modules)
        }

    def _note_beginning(
        self,
        checkpoints: Checkpoints,
        began: str,
        fingerprints: dict[str, str],
        versions: dict[str, str],
    ) -> None:
        """Note what the run is made of, and hold it against its beginning and other workers.

        Raises:
            RunFolderError: If a run that is resumed was made of something else.
            TlkitError: If another worker's run is made of something else.
        """
        config = run_folder.config_text(self._trainer.config)
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
        if self._machines.replicas is not None:
            packages = {key: versions[key] for key in versions if key not in _OF_THE_MACHINE}
            self._machines.replicas.check_equal(
                {**settings_of_figures(config), **fingerprints, **packages}
            )

    def _finish(
        self, result: RunResult, data: ImageData, session: Session, begin: float
    ) -> RunResult:
        """Save and report; ``begin`` is when the run would have begun without interruption."""
        events = self._events
        events.emit("on_stage", "saving")
        saving = time.monotonic()
        if result.folder is not None:
            run_folder.save(result.folder, result, self._trainer.save)
            if self._trainer.test_images:
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

    @contextmanager
    def _stage(self, key: str) -> Iterator[None]:
        """Tell reporters of a stage, and note how long it took if nothing is raised."""
        self._events.emit("on_stage", key)
        begin = time.monotonic()
        yield
        self._seconds[key] = self._seconds.get(key, 0.0) + time.monotonic() - begin


def _complete_features(session: Session, on_test: bool) -> None:
    """Compute what the test needs now, so that its time counts as that of features."""
    for view in session.test_time_augmentation.views:
        if not on_test:
            session.features("validation", fixed=view)
        session.features("test", fixed=view)


def _class_counts(train: Subset, num_classes: int) -> tuple[int, ...]:
    counts = np.bincount(np.asarray(train.split.labels)[train.rows], minlength=num_classes)
    return tuple(int(count) for count in counts)


def _keep_test_images(result: RunResult, names: Sequence[str]) -> list[str]:
    """Write the thumbnails; return what went wrong, since a run is whole without them."""
    assert result.folder is not None
    assert result.test_images is not None
    try:
        problem = thumbnails.save(result.folder, result.test, result.test_images, names)
    except OSError as err:
        problem = f"Cannot keep test images in {result.folder}: {err.strerror or err}"
    return [problem] if problem else []


def _fine_tuning_that_is_off(trainer: Trainer) -> Sequence[str]:
    workflow = trainer.workflow
    if workflow.fine_tunes:
        return ()
    defaults = allowed_options(type(workflow))
    given = [
        key
        for key in workflow.idle_options()
        if key in defaults and workflow.options[key] != defaults[key].default
    ]
    if not given:
        return ()
    return [f"[workflow] {', '.join(given)}: without effect, as nothing is fine-tuned."]


def _random_and_frozen(trainer: Trainer) -> Sequence[str]:
    random = getattr(trainer.backbone, "weights", "") == "random"  # one's own may keep none
    if not random or trainer.workflow.fine_tunes or trainer.start_from:
        return ()
    return [
        "The backbone's weights are random and frozen: nothing trains it, its features stay "
        "random. Take pretrained weights, or let the workflow train it, such as with "
        "[workflow] fine_tune_epochs."
    ]
