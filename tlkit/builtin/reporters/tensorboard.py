"""TensorBoardReporter: a run as TensorBoard reads it, while it trains."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tlkit import (
    ConfigError,
    Phase,
    PhaseResult,
    Reporter,
    RunInfo,
    RunResult,
    printable,
)
from tlkit.builtin.reporters.figures import figure_rows
from tlkit.builtin.reporters.mistakes import draw_mistakes
from tlkit.builtin.reporters.plots import draw_confusion_matrix, draw_reliability
from tlkit.builtin.reporters.projector import write_projector
from tlkit.wording import accuracy_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = "tensorboard"
MAX_EMBEDDINGS = 10_000
MAX_MISTAKES = 64
_DPI = 100


class TensorBoardReporter(Reporter):
    """Write scalars, images, text and embeddings for TensorBoard into the run folder."""

    name: ClassVar[str] = "tensorboard"
    modules: ClassVar[tuple[str, ...]] = (
        "tensorboard",
        "matplotlib.figure",
        "matplotlib.backends.backend_agg",
    )
    install: ClassVar[str] = "'tlkit[tensorboard]'"

    def __init__(self, embeddings: int = 1000, mistakes: int = 16) -> None:
        """Choose how much to write.

        Args:
            embeddings: Test images in the projector, 0 to 10,000; 0 for no projector.
            mistakes: Wrong answers in the picture of mistakes, 0 to 64, the surest first.

        Raises:
            ConfigError: If one of them is out of range.
        """
        limits = {"embeddings": MAX_EMBEDDINGS, "mistakes": MAX_MISTAKES}
        for key, given in (("embeddings", embeddings), ("mistakes", mistakes)):
            if not 0 <= given <= limits[key]:
                raise ConfigError(
                    f"[[reporters]] {key} = {given} is not allowed: 0 to {limits[key]}."
                )
        self.embeddings, self.mistakes = embeddings, mistakes
        self._folder: Path | None = None
        self._writers: dict[str, Any] = {}
        self._epoch = 0

    def on_run_begin(self, run: RunInfo, **kwargs: Any) -> None:
        """Begin the log, with the config as text and as hyperparameters."""
        self._close()
        self._epoch = 0
        self._folder = None if run.folder is None else run.folder / FOLDER
        if run.folder is None:
            return
        # Those of a process that was interrupted: all that they say is told again.
        for earlier in (run.folder / FOLDER).rglob("events.out.tfevents.*"):
            earlier.unlink()
        import tensorflow as tf
        from tensorboard.plugins.hparams import api as hparams

        config = (run.folder / "config.toml").read_text(encoding="utf-8")
        with self._write_to("", 0):
            tf.summary.text("config", _code(config))
            tf.summary.text("data", _data_table(run))
            if run.notes:
                tf.summary.text("notes", "\n".join(f"- {_cell(note)}" for note in run.notes))
            hparams.hparams(run.settings, trial_id=run.folder.name)
        self._flush()

    def on_phase_begin(self, phase: Phase, **kwargs: Any) -> None:
        """Mark where the phase begins."""
        if self._folder is None:
            return
        import tensorflow as tf

        rows = [
            ("phase", phase.name),
            ("first epoch", f"{self._epoch + 1}"),
            ("epochs, at most", f"{phase.epochs}"),
            ("trainable parameters", f"{phase.trainable_parameters:,}"),
            ("frozen parameters", f"{phase.frozen_parameters:,}"),
        ]
        with self._write_to("", self._epoch + 1):
            tf.summary.text("phase", _table(rows))

    def on_epoch_end(
        self, phase: Phase, epoch: int, metrics: Mapping[str, float], seconds: float, **kwargs: Any
    ) -> None:
        """Write the figures of the epoch; TensorBoard can show them at once."""
        if self._folder is None:
            return
        import tensorflow as tf

        self._epoch += 1
        for name, prefix in (("train", ""), ("validation", "val_")):
            found = {key: metrics.get(f"{prefix}{key}") for key in ("loss", "accuracy")}
            with self._write_to(name, self._epoch):
                for key, value in found.items():
                    if value is not None:
                        tf.summary.scalar(key, value)
        with self._write_to("", self._epoch):
            tf.summary.scalar("seconds_per_epoch", seconds)
        self._flush()

    def on_phase_end(self, result: PhaseResult, **kwargs: Any) -> None:
        """Write what the phase chose, where it chose something."""
        rows = [(key, f"{value}") for key, value in result.chosen.items()]
        if result.kept_epoch is not None:
            rows.append(("weights kept of epoch", f"{result.kept_epoch} of {result.phase.name}"))
        if self._folder is None or not rows:
            return
        import tensorflow as tf

        with self._write_to("", self._epoch):
            tf.summary.text("chosen", _table(rows))

    def on_run_end(self, result: RunResult, **kwargs: Any) -> None:
        """Write the test figures, the pictures and the projector's files.

        Args:
            result: The finished run; without a folder nothing is written.
            kwargs: ``test_names`` and ``test_features``; see ``Reporter.on_run_end``.
        """
        if self._folder is None:
            return
        try:
            self._write_figures(result)
            self._write_mistakes(result)
            features = kwargs.get("test_features")
            if self.embeddings and features is not None:
                names = tuple(kwargs.get("test_names", ()))
                write_projector(self._folder, result, features, names, self.embeddings)
        finally:
            self._close()

    def on_error(self, error: BaseException, **kwargs: Any) -> None:
        """Keep what was written so far."""
        self._close()

    def _write_figures(self, result: RunResult) -> None:
        import tensorflow as tf
        from tensorboard.plugins.hparams import summary
        from tensorboard.plugins.hparams.api_pb2 import STATUS_SUCCESS

        with self._write_to("", self._epoch):
            for key, value in result.test.scalars.items():
                tf.summary.scalar(f"test/{key}", value)
            figures = [("accuracy", accuracy_text(result.test)), *figure_rows(result.test)]
            tf.summary.text("test", _table(figures))
            tf.summary.text("classes", _class_table(result))
            tf.summary.image("confusion_matrix", _pixels(draw_confusion_matrix(result)))
            if result.test.calibration is not None:
                tf.summary.image("reliability", _pixels(draw_reliability(result)))
            session_end = summary.session_end_pb(STATUS_SUCCESS)
            tf.summary.experimental.write_raw_pb(session_end.SerializeToString(), step=self._epoch)

    def _write_mistakes(self, result: RunResult) -> None:
        import tensorflow as tf

        picture = draw_mistakes(result, self.mistakes)
        if picture is not None:
            with self._write_to("", self._epoch):
                tf.summary.image("mistakes", _pixels(picture))

    def _write_to(self, name: str, step: int) -> AbstractContextManager[Any]:
        import tensorflow as tf

        assert self._folder is not None
        if name not in self._writers:
            self._writers[name] = tf.summary.create_file_writer(str(self._folder / name))
        writer: AbstractContextManager[Any] = self._writers[name].as_default(step=step)
        return writer

    def _flush(self) -> None:
        for writer in self._writers.values():
            writer.flush()

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}


def _data_table(run: RunInfo) -> str:
    counts = (("train", run.num_train), ("validation", run.num_validation), ("test", run.num_test))
    return _table([(name, f"{count:,} images") for name, count in counts])


def _class_table(result: RunResult) -> str:
    lines = ["| class | precision | recall | F1 | images |", "|---|---|---|---|---|"]
    for item in (*result.test.classes, *result.test.averages):
        figures = f"{item.precision:.3f} | {item.recall:.3f} | {item.f1:.3f}"
        lines.append(f"| {_cell(item.name)} | {figures} | {item.support} |")
    return "\n".join(lines)


def _table(rows: list[tuple[str, str]]) -> str:
    """Return rows as a table in Markdown, which TensorBoard shows."""
    lines = [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows]
    return "\n".join(["| | |", "|---|---|", *lines])


def _cell(text: str) -> str:
    """Return text that Markdown and HTML take as text; TensorBoard cleans its HTML as well."""
    shown = printable(text)
    return "".join(f"&#{ord(sign)};" if sign in "&<>|*_`[]\\!#~" else sign for sign in shown)


def _code(text: str) -> str:
    return "\n".join(f"    {printable(line)}" for line in text.splitlines())


def _pixels(figure: Figure) -> Any:
    """Return a figure as uint8 (1, height, width, 3)."""
    import numpy as np

    figure.set_dpi(_DPI)
    canvas: Any = figure.canvas
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[None, :, :, :3]
