"""Reporter: follows a run and shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from tlkit.plugin import Plugin
from tlkit.records import EngineTrial, Phase, PhaseResult, RunInfo, RunResult

if TYPE_CHECKING:
    from tlkit.compare.records import Comparison


class Reporter(Plugin):
    """Follows one run; every method does nothing unless overridden.

    Every method takes ``**kwargs``, so that a later tlkit can say more without breaking a plugin.
    A reporter that raises is dropped with a warning and the run goes on. Write files into
    ``result.folder`` if that is not None.
    """

    kind: ClassVar[str] = "reporter"

    def on_stage(self, stage: str, **kwargs: Any) -> None:
        """Called when a run turns to another of its parts, also before ``on_run_begin``.

        Args:
            stage: ``"start"`` (importing TensorFlow), ``"data"``, ``"model"``, ``"evaluation"``,
                ``"saving"`` or ``"reports"``; extraction and training have events of their own.
            kwargs: Room for more.
        """

    def on_run_begin(self, run: RunInfo, **kwargs: Any) -> None:
        """Called once the data is loaded and before anything is computed.

        Args:
            run: What is known of the run.
            kwargs: ``pictures``: a ``PictureNote`` for each picture that is changed when it is
                read, or was left out. ``duplicates``: a ``Duplicate`` for each test or validation
                image that is also a training image, or a validation image that is also a test
                image. ``comparison``: the folder of the comparison that this run is a cell of;
                None for a run of its own.
        """

    def on_extract_progress(
        self, split: str, done: int, total: int, seconds: float, **kwargs: Any
    ) -> None:
        """Called while the frozen backbone turns images into features.

        Args:
            split: ``"train"``, ``"validation"`` or ``"test"``, and which view of it where that is
                not the image itself: ``"train, view 2"``, ``"test, scale 1.25, mirrored"``.
            done: Images finished, 0 (at the start) to ``total``; ``total`` marks the end.
            total: Images in the split.
            seconds: Seconds since the split began; 0 with ``done`` above 0 says how many were
                stored before, as by an interrupted run.
            kwargs: ``stored`` is True if all features were on disk already. ``kept``: how many
                images an interrupt at this moment would leave stored: those of whole shards.
        """

    def on_engine_chosen(self, name: str, trials: tuple[EngineTrial, ...], **kwargs: Any) -> None:
        """Called when the engine for extraction is known; not called if all features are stored.

        Args:
            name: The engine that runs the frozen backbone.
            trials: How the engines other than TensorFlow compared with it.
            kwargs: Room for more.
        """

    def on_phase_begin(self, phase: Phase, **kwargs: Any) -> None:
        """Called before the first epoch of a phase."""

    def on_epoch_progress(
        self, phase: Phase, epoch: int, done: int, total: int, seconds: float, **kwargs: Any
    ) -> None:
        """Called now and then within an epoch.

        Args:
            phase: The phase.
            epoch: The epoch, from 1.
            done: Images seen in this epoch.
            total: Images in an epoch.
            seconds: Seconds since the epoch began.
            kwargs: Room for more.
        """

    def on_epoch_end(
        self, phase: Phase, epoch: int, metrics: Mapping[str, float], seconds: float, **kwargs: Any
    ) -> None:
        """Called after each epoch.

        Args:
            phase: The phase.
            epoch: The epoch, from 1.
            metrics: ``loss``, ``accuracy``, ``val_loss``, ``val_accuracy``.
            seconds: Seconds that the epoch took, validation included.
            kwargs: Room for more.
        """

    def on_phase_end(self, result: PhaseResult, **kwargs: Any) -> None:
        """Called after the last epoch of a phase."""

    def on_run_end(self, result: RunResult, **kwargs: Any) -> None:
        """Called when the run is finished and saved.

        Args:
            result: The finished run.
            kwargs: ``test_names``: one name for each test image, or empty. ``test_features``: a
                function that takes an int64 array of positions among the test images, 1 or more,
                and returns what the head receives for them, float32 (number of positions, ...).
        """

    def on_error(self, error: BaseException, **kwargs: Any) -> None:
        """Called when the run fails or is interrupted; the error is raised afterwards."""

    def on_comparison_end(self, comparison: Comparison, **kwargs: Any) -> None:
        """Called when all cells of a grid are known and the comparison's files are written.

        It is called on an object that saw none of the cells: each cell makes its own reporters,
        which are told the comparison's folder in ``on_run_begin``.

        Args:
            comparison: The cells, those that failed among them; ``comparison.folder`` is set.
            kwargs: Room for more.
        """
