"""MLflowReporter: a run in MLflow, while it trains."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tlkit import (
    ConfigError,
    Phase,
    PluginError,
    Reporter,
    RunInfo,
    RunResult,
    load_run,
    printable,
)
from tlkit_mlflow.figures import parameters, phases_text, test_metrics
from tlkit_mlflow.model import log_model
from tlkit_mlflow.server import (
    LINK,
    has_password,
    make_link,
    patience,
    read_link,
    without_password,
    write_link,
)

if TYPE_CHECKING:
    from tlkit.compare.records import Comparison

_METRICS_IN_A_BATCH, _PARAMETERS_IN_A_BATCH = 1000, 100
_PARENT, _NOTE = "mlflow.parentRunId", "mlflow.note.content"
_MODELS = ("model.keras", "model.h5")


class MLflowReporter(Reporter):
    """Log parameters, metrics by epoch, artefacts and the model to MLflow."""

    name: ClassVar[str] = "mlflow"
    modules: ClassVar[tuple[str, ...]] = ("mlflow",)
    install: ClassVar[str] = "tlkit-mlflow"

    def __init__(
        self,
        tracking_uri: str | None = None,
        experiment: str | None = None,
        run_name: str | None = None,
        tags: dict[str, str] | None = None,
        log_model: bool = True,
        registered_model_name: str | None = None,
    ) -> None:
        """Choose where to; by default where MLflow's environment variables say.

        Args:
            tracking_uri: The server, such as "http://127.0.0.1:5000", or a store, such as
                "sqlite:///mlflow.db"; by default MLFLOW_TRACKING_URI.
            experiment: Name of the experiment, made where it is missing; by default
                MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID.
            run_name: Name of the run; by default that of the tlkit run. In a comparison that of the
                parent run, by default its folder's.
            tags: More tags for the run.
            log_model: Whether to log the model too.
            registered_model_name: Name to register the model under; by default it is not.

        Raises:
            ConfigError: If the tracking URI holds a password, or a model that is not logged is to
                be registered.
        """
        if tracking_uri is not None and has_password(tracking_uri):
            # Not a word of it in the error, which may be logged; the config is saved with the run.
            self.options["tracking_uri"] = without_password(tracking_uri)
            raise ConfigError(
                "[[reporters]] tracking_uri holds a password, which would be saved with the run. "
                "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
                "MLFLOW_TRACKING_TOKEN, instead."
            )
        if registered_model_name is not None and not log_model:
            raise ConfigError(
                "[[reporters]] registered_model_name is not allowed with log_model = false."
            )
        self.tracking_uri, self.experiment, self.run_name = tracking_uri, experiment, run_name
        self.tags, self.log_model = dict(tags or {}), log_model
        self.registered_model_name = registered_model_name
        self._run: RunInfo | None = None
        self._comparison: Path | None = None
        self._previous_uri: str | None = None
        # Key, value, milliseconds since 1970, step: what the server does not have yet.
        self._waiting: list[tuple[str, float, int, int]] = []
        self._reset()

    def on_run_begin(self, run: RunInfo, **kwargs: Any) -> None:
        """Start the run with its parameters; a server that does not answer is tried again later."""
        self._reset()
        self._run, self._comparison = run, kwargs.get("comparison")
        self._previous_uri = self._enter()
        self._attempt(self._start)

    def on_epoch_end(
        self, phase: Phase, epoch: int, metrics: Mapping[str, float], seconds: float, **kwargs: Any
    ) -> None:
        """Log the figures of the epoch; the step is the epoch, counted over all phases."""
        self._epoch += 1
        now = int(time.time() * 1000)
        figures = {**metrics, "seconds_per_epoch": seconds}
        self._waiting += [(key, float(value), now, self._epoch) for key, value in figures.items()]
        if self._reachable:
            self._attempt(self._send_figures)

    def on_run_end(self, result: RunResult, **kwargs: Any) -> None:
        """Log the test figures, the files of the run folder and the model.

        Raises:
            PluginError: If the server does not answer.
        """
        try:
            with patience():
                self._start()
                self._send_figures()
            with patience(files=True):
                self._finish(result)
        except Exception as err:
            failure = f"{self._failure(err)}."
            self._end("FAILED")
            if result.folder is not None:
                failure += f" Send it later: python -m tlkit_mlflow {result.folder}"
            raise PluginError(failure) from err
        self._end("FINISHED")

    def on_error(self, error: BaseException, **kwargs: Any) -> None:
        """Mark the run as killed or failed, and its parent too where the user stopped it."""
        killed = isinstance(error, KeyboardInterrupt)
        if self._run_id and not killed:
            line = next(iter(str(error).splitlines()), "")
            with contextlib.suppress(Exception), patience():
                self._client().set_tag(
                    self._run_id, "tlkit.error", f"{type(error).__name__}: {printable(line, 500)}"
                )
        if self._own_parent and killed:
            with contextlib.suppress(Exception), patience():
                self._client().set_terminated(self._own_parent, "KILLED")
        self._end("KILLED" if killed else "FAILED")

    def on_comparison_end(self, comparison: Comparison, **kwargs: Any) -> None:
        """Send the cells that the server does not have, and close the parent run.

        Raises:
            PluginError: If the server does not answer.
        """
        if comparison.folder is None:
            return
        self._reset()
        self._previous_uri = self._enter()
        try:
            import mlflow

            for cell in comparison.cells:
                link = cell.folder and read_link(cell.folder, mlflow.get_tracking_uri())
                if cell.folder and cell.figures and not (link and link.complete):
                    self.send(cell.folder, comparison=comparison.folder)
            with patience(files=True):
                self._finish_parent(comparison)
        except Exception as err:
            raise PluginError(f"{self._failure(err)}.") from err
        finally:
            self._leave()

    def send(self, folder: Path, comparison: Path | None = None) -> str:
        """Send a finished run from its folder.

        Args:
            folder: The run folder.
            comparison: The folder of the comparison that it is a cell of.

        Returns:
            The page of the run, or its id where there is no server.

        Raises:
            RunFolderError: If the folder is not that of a finished run.
            PluginError: If the server does not answer.
        """
        result = load_run(folder)
        other = MLflowReporter(**self.options)
        other.on_run_begin(result.info, comparison=comparison)
        for phase in result.phases:
            epochs = max(map(len, phase.history.values()), default=0)
            for epoch in range(epochs):
                found = {key: values[epoch] for key, values in phase.history.items()}
                other.on_epoch_end(phase.phase, epoch + 1, found, phase.seconds / epochs)
        other.on_run_end(result)
        return other._where

    def _reset(self) -> None:
        self._run = self._comparison = None
        self._run_id = self._own_parent = self._where = ""
        self._reachable, self._entered = True, False
        self._epoch = 0
        self._waiting = []

    def _enter(self) -> str | None:
        """Make the chosen server MLflow's own until ``_leave()``; return what it was."""
        import mlflow

        previous = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
        if self.tracking_uri is not None:
            mlflow.set_tracking_uri(self.tracking_uri)
        self._entered = True
        return previous

    def _leave(self) -> None:
        import mlflow

        if self._entered and self.tracking_uri is not None:
            mlflow.set_tracking_uri(self._previous_uri)
        self._entered = False

    def _client(self) -> Any:
        import mlflow

        return mlflow.MlflowClient()

    def _attempt(self, action: Any) -> None:
        """Do something that may wait: where it fails, the end of the run tries again."""
        try:
            with patience():
                action()
        except Exception as err:
            self._reachable = False
            warnings.warn(
                f"{self._failure(err)}. It is tried again at the end of the run.",
                RuntimeWarning,
                stacklevel=2,
            )

    def _failure(self, err: BaseException) -> str:
        import mlflow

        where = without_password(mlflow.get_tracking_uri())
        cause = _cause(err)
        line = printable(" ".join(str(cause).split()), 300)
        return f"MLflow at {printable(where)} did not take the run: {type(cause).__name__}: {line}"

    def _start(self) -> None:
        if self._run_id or self._run is None:
            return
        import mlflow

        run = self._run
        experiment = self._experiment()
        parent = self._parent(experiment) if self._comparison is not None else None
        name = run.name if self._comparison is not None else self.run_name or run.name
        tags = {**self.tags, "tlkit.version": _version()}
        if run.folder is not None:
            tags["tlkit.folder"] = str(run.folder)
        active = mlflow.start_run(
            experiment_id=experiment, run_name=name, nested=True, parent_run_id=parent, tags=tags
        )
        self._run_id = active.info.run_id
        link = make_link(mlflow.get_tracking_uri(), active.info.experiment_id, self._run_id)
        self._where = link.url or self._run_id
        if run.folder is not None:
            write_link(run.folder, link)
        found = list(parameters(run).items())
        for first in range(0, len(found), _PARAMETERS_IN_A_BATCH):
            mlflow.log_params(dict(found[first : first + _PARAMETERS_IN_A_BATCH]))

    def _experiment(self) -> str | None:
        """Return the experiment's id, made where it is missing; None for MLflow's own choice."""
        if self.experiment is None:
            return None
        client = self._client()
        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            made: str = client.create_experiment(self.experiment)
            return made
        known: str = found.experiment_id
        return known

    def _parent(self, experiment: str | None) -> str | None:
        """Return the run that the cells of a comparison lie in, made where it is missing.

        A run that the caller has opened is taken; else the comparison's folder knows which it was,
        so that one that goes on later goes on there.
        """
        import mlflow

        assert self._comparison is not None
        active = mlflow.active_run()
        if active is not None:
            opened: str = active.info.run_id
            return opened
        client, uri = self._client(), mlflow.get_tracking_uri()
        link = read_link(self._comparison, uri)
        if link is not None and _is_there(client, link.run_id, experiment):
            client.update_run(link.run_id, status="RUNNING")
            self._own_parent = link.run_id
            return link.run_id
        with mlflow.start_run(
            experiment_id=experiment,
            run_name=self.run_name or self._comparison.resolve().name,
            tags={**self.tags, "tlkit.version": _version(), "tlkit.comparison": "true"},
        ) as made:
            pass
        client.update_run(made.info.run_id, status="RUNNING")
        write_link(self._comparison, make_link(uri, made.info.experiment_id, made.info.run_id))
        self._own_parent = made.info.run_id
        return self._own_parent

    def _send_figures(self) -> None:
        from mlflow.entities import Metric

        client = self._client()
        while self._waiting:
            batch = self._waiting[:_METRICS_IN_A_BATCH]
            client.log_batch(self._run_id, metrics=[Metric(*item) for item in batch])
            del self._waiting[: len(batch)]

    def _finish(self, result: RunResult) -> None:
        import mlflow

        now = int(time.time() * 1000)
        figures = test_metrics(result)
        self._waiting = [(key, value, now, self._epoch) for key, value in figures.items()]
        self._send_figures()
        tags = {"tlkit.phases": phases_text(result)}
        if result.info.notes:
            tags["tlkit.notes"] = "\n".join(result.info.notes)[:5000]
        mlflow.set_tags(tags)
        if result.folder is not None:
            for path in _files(result.folder):
                place = path.parent.relative_to(result.folder).as_posix()
                mlflow.log_artifact(str(path), None if place == "." else place)
        if self.log_model:
            model = result.model if result.model is not None else _load(result.folder)
            log_model(result, model, self.registered_model_name)
        if result.folder is not None:
            link = read_link(result.folder, mlflow.get_tracking_uri())
            assert link is not None
            write_link(
                result.folder,
                make_link(mlflow.get_tracking_uri(), link.experiment_id, link.run_id, True),
            )

    def _finish_parent(self, comparison: Comparison) -> None:
        import mlflow

        assert comparison.folder is not None
        self._comparison = comparison.folder
        parent = self._parent(self._experiment())
        client = self._client()
        for path in sorted(comparison.folder.iterdir()):
            if path.is_file() and path.name != LINK and not path.name.startswith("."):
                client.log_artifact(parent, str(path))
        figures = {"cells": len(comparison.cells), "failed_cells": len(comparison.failed)}
        for key, value in figures.items():
            client.log_metric(parent, key, value)
        client.set_tag(parent, _NOTE, _table(comparison)[:7500])
        if self._own_parent:
            client.set_terminated(parent, "FINISHED")
            link = read_link(comparison.folder, mlflow.get_tracking_uri())
            assert link is not None
            uri = mlflow.get_tracking_uri()
            write_link(comparison.folder, make_link(uri, link.experiment_id, link.run_id, True))

    def _end(self, status: str) -> None:
        """Close the run here, whatever the server says: no other run may end up inside it."""
        import mlflow

        try:
            active = mlflow.active_run()
            if self._run_id and active is not None and active.info.run_id == self._run_id:
                with patience(), contextlib.suppress(Exception):
                    mlflow.end_run(status)
        finally:
            self._leave()


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a run folder, without the model and half-written ones."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in parts)
        apart = len(parts) == 1 and path.name in (*_MODELS, LINK)
        if path.is_file() and not hidden and not apart:
            yield path


def _load(folder: Path | None) -> Any:
    import keras

    assert folder is not None
    found = next((folder / name for name in _MODELS if (folder / name).is_file()), folder)
    return keras.models.load_model(found, compile=False)


def _cause(err: BaseException) -> BaseException:
    """Return what the system said, such as that a connection was refused, where it said something.

    What MLflow and the libraries below it make of it fills a screen.
    """
    innermost = err
    while (inner := innermost.__cause__ or innermost.__context__) is not None:
        innermost = inner
    return innermost if isinstance(innermost, OSError) else err


def _is_there(client: Any, run_id: str, experiment: str | None) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        info = client.get_run(run_id).info
    except MlflowException as err:
        if err.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return info.lifecycle_stage == "active" and experiment in (None, info.experiment_id)


def _table(comparison: Comparison) -> str:
    """Return the cells as a table in Markdown, which MLflow shows as the run's description."""
    lines = ["| cell | test accuracy |", "|---|---|"]
    for cell in comparison.cells:
        found = "failed" if cell.figures is None else f"{100 * cell.figures.accuracy:.1f} %"
        if cell.figures is not None and cell.figures.interval is not None:
            low, high = (f"{100 * end:.1f}" for end in cell.figures.interval)
            found += f" ({low} to {high})"
        lines.append(f"| {printable(cell.title).replace('|', '_')} | {found} |")
    return "\n".join([*lines, "", *comparison.notes])


def _version() -> str:
    from importlib.metadata import version

    return version("tlkit")
