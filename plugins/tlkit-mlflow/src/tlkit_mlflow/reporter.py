"""MLflowReporter: a run in MLflow, while it trains."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Mapping
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
from tlkit_mlflow.artefacts import log_data, log_files, model_of
from tlkit_mlflow.figures import parameters, phases_text, test_metrics
from tlkit_mlflow.model import log_model
from tlkit_mlflow.parent import find_or_make_parent, finish_parent
from tlkit_mlflow.server import (
    has_password,
    make_link,
    mark_complete,
    patience,
    read_link,
    tracking,
    without_password,
    write_link,
)

if TYPE_CHECKING:
    from tlkit.compare.records import Comparison

_METRICS_IN_A_BATCH, _PARAMETERS_IN_A_BATCH = 1000, 100
_TAG_LIMIT = 5000


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
            ConfigError: If the tracking URI holds a password or token, or a model that is not
                logged is to be registered.
        """
        if tracking_uri is not None and has_password(tracking_uri):
            # Not a word of it in the error, which may be logged; the config is saved with the run.
            self.options["tracking_uri"] = without_password(tracking_uri)
            raise ConfigError(
                "[[reporters]] tracking_uri holds a password or token, which would be saved with "
                "the run. Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
                "MLFLOW_TRACKING_TOKEN, instead; for a database the whole MLFLOW_TRACKING_URI."
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
        # What the server does not have yet; metrics with their milliseconds since 1970 and step.
        self._parameters: list[tuple[str, str]] = []
        self._metrics: list[tuple[str, float, int, int]] = []
        self._scope = contextlib.ExitStack()
        self._forget()

    def on_run_begin(self, run: RunInfo, **kwargs: Any) -> None:
        """Start the run with its parameters; a server that does not answer is tried again later."""
        self._begin(run, kwargs.get("comparison"))
        self._attempt()

    def on_epoch_end(
        self, phase: Phase, epoch: int, metrics: Mapping[str, float], seconds: float, **kwargs: Any
    ) -> None:
        """Log the figures of the epoch; the step is the epoch, counted over all phases."""
        self._epoch += 1
        now = int(time.time() * 1000)
        figures = {**metrics, "seconds_per_epoch": seconds}
        self._metrics += [(key, float(value), now, self._epoch) for key, value in figures.items()]
        if self._reachable:
            self._attempt()

    def on_run_end(self, result: RunResult, **kwargs: Any) -> None:
        """Log the test figures, the files of the run folder and the model.

        Raises:
            PluginError: If the server does not answer.
        """
        try:
            with patience():
                self._send()
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
        if self._run is None:
            return
        import mlflow

        killed = isinstance(error, KeyboardInterrupt)
        if self._run_id and not killed:
            line = next(iter(str(error).splitlines()), "")
            with contextlib.suppress(Exception), patience():
                mlflow.MlflowClient().set_tag(
                    self._run_id, "tlkit.error", f"{type(error).__name__}: {printable(line, 500)}"
                )
        if self._own_parent and killed:
            with contextlib.suppress(Exception), patience():
                mlflow.MlflowClient().set_terminated(self._own_parent, "KILLED")
        self._end("KILLED" if killed else "FAILED")

    def on_comparison_end(self, comparison: Comparison, **kwargs: Any) -> None:
        """Send the cells that the server does not have, and close the parent run.

        Raises:
            PluginError: If the server does not answer.
        """
        if comparison.folder is None:
            return
        import mlflow

        self._forget()
        with tracking(self.tracking_uri):
            try:
                for cell in comparison.cells:
                    if cell.folder and cell.figures and self.sent(cell.folder) is None:
                        self.send(cell.folder, comparison.folder)
                with patience(files=True):
                    self._comparison = comparison.folder
                    parent = self._parent(self._experiment())
                    finish_parent(parent, comparison, comparison.folder)
                    if self._own_parent:
                        mlflow.MlflowClient().set_terminated(parent, "FINISHED")
                        mark_complete(comparison.folder, mlflow.get_tracking_uri())
            except PluginError:  # of a cell, which says it all
                raise
            except Exception as err:
                raise PluginError(f"{self._failure(err)}.") from err

    def sent(self, folder: Path) -> str | None:
        """Return where a run is if the server has all of it: its page, or its id; else None."""
        import mlflow

        with tracking(self.tracking_uri):
            link = read_link(folder, mlflow.get_tracking_uri())
        return (link.url or link.run_id) if link is not None and link.complete else None

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
        other._begin(result.info, comparison)
        other._reachable = False  # until the end, where all is sent at once
        for phase in result.phases:
            for epoch in range(1, phase.num_epochs + 1):
                seconds = phase.seconds / phase.num_epochs
                other.on_epoch_end(phase.phase, epoch, phase.figures(epoch), seconds)
        other.on_run_end(result)
        return other._where

    def _forget(self) -> None:
        self._run = self._comparison = None
        self._run_id = self._own_parent = self._where = ""
        self._reachable = True
        self._epoch = 0
        self._parameters, self._metrics = [], []
        self._scope.close()

    def _begin(self, run: RunInfo, comparison: Path | None) -> None:
        self._forget()
        self._scope.enter_context(tracking(self.tracking_uri))
        self._run, self._comparison = run, comparison
        self._parameters = list(parameters(run).items())

    def _attempt(self) -> None:
        """Send what is waiting; where that fails, the end of the run tries again."""
        try:
            with patience():
                self._send()
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

    def _send(self) -> None:
        """Start the run if it is not started, and send what is waiting."""
        import mlflow
        from mlflow.entities import Metric, Param

        if not self._run_id:
            self._start()
        client = mlflow.MlflowClient()
        while self._parameters:
            some = self._parameters[:_PARAMETERS_IN_A_BATCH]
            client.log_batch(self._run_id, params=[Param(*item) for item in some])
            del self._parameters[: len(some)]
        while self._metrics:
            batch = self._metrics[:_METRICS_IN_A_BATCH]
            client.log_batch(self._run_id, metrics=[Metric(*item) for item in batch])
            del self._metrics[: len(batch)]

    def _start(self) -> None:
        import mlflow

        run = self._run
        assert run is not None
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

    def _experiment(self) -> str | None:
        """Return the experiment's id, made where it is missing; None for MLflow's own choice."""
        if self.experiment is None:
            return None
        import mlflow

        client = mlflow.MlflowClient()
        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            made: str = client.create_experiment(self.experiment)
            return made
        known: str = found.experiment_id
        return known

    def _parent(self, experiment: str | None) -> str:
        assert self._comparison is not None
        tags = {**self.tags, "tlkit.version": _version()}
        parent, own = find_or_make_parent(self._comparison, experiment, self.run_name, tags)
        self._own_parent = parent if own else ""
        return parent

    def _finish(self, result: RunResult) -> None:
        import mlflow

        now = int(time.time() * 1000)
        figures = test_metrics(result)
        self._metrics = [(key, value, now, self._epoch) for key, value in figures.items()]
        self._send()
        tags = {"tlkit.phases": phases_text(result)}
        if result.info.notes:
            tags["tlkit.notes"] = "\n".join(result.info.notes)[:_TAG_LIMIT]
        mlflow.set_tags(tags)
        log_data(result)
        if result.folder is not None:
            log_files(result.folder)
        model = model_of(result) if self.log_model else None
        if model is not None:
            log_model(result, model, self.registered_model_name)
        if result.folder is not None:
            mark_complete(result.folder, mlflow.get_tracking_uri())

    def _end(self, status: str) -> None:
        """Close the run here, whatever the server says: no other run may end up inside it."""
        if self._run is None:
            return
        import mlflow

        active = mlflow.active_run()
        if active is not None and active.info.run_id == self._run_id:
            with patience(), contextlib.suppress(Exception):
                mlflow.end_run(status)
        self._scope.close()


def _cause(err: BaseException) -> BaseException:
    """Return what the system said, such as that a connection was refused, where it said something.

    What MLflow and the libraries below it make of it fills a screen.
    """
    innermost = err
    while (inner := innermost.__cause__ or innermost.__context__) is not None:
        innermost = inner
    return innermost if isinstance(innermost, OSError) else err


def _version() -> str:
    from importlib.metadata import version

    return version("tlkit")
