"""What the terminal shows of an extraction and of a phase, under way and finished."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console
from rich.style import Style
from rich.text import Text

from tlkit import Phase, PhaseResult
from tlkit.builtin.reporters.terminal_colours import Palette
from tlkit.builtin.reporters.terminal_progress import (
    ExtractionProgress,
    PhaseProgress,
    best_epoch,
)
from tlkit.builtin.reporters.terminal_text import (
    ConsoleText,
    duration,
    time_left,
)
from tlkit.wording import percent, plural, rate

MAX_EPOCH_ROWS = 12
_NAME_CELLS = 40
_LEAST_BAR_CELLS = 8
_NARROW = 60
_FIGURES = (
    ("Loss", "loss", False),
    ("Accuracy", "accuracy", True),
    ("Val loss", "val_loss", False),
    ("Val acc", "val_accuracy", True),
)
_FIGURE_CELLS = 10
_LARGE = 1e4  # from here on four decimals do not fit
_NOT_BOLD = Style(bold=False)


class TrainingViews:
    """The views of one console; each is a list of lines."""

    def __init__(self, console: Console, text: ConsoleText, palette: Palette) -> None:
        self._console, self._text, self._palette = console, text, palette

    def extraction(self, progress: ExtractionProgress, cells: int) -> list[Text]:
        """An extraction under way."""
        title = f"Features of {self._text.fit(progress.split, max(8, cells - 24))}"
        count = f"{progress.done:,} of {progress.total:,} images"
        return [
            self._bar(title, progress.done / max(progress.total, 1), cells),
            self._state([count, rate(progress.rate), time_left(progress.seconds_left)], cells),
        ]

    def extraction_line(self, progress: ExtractionProgress) -> Text:
        """An extraction under way, where nothing can be drawn again."""
        parts = (
            f"Features of {self._text.fit(progress.split, _NAME_CELLS)}: {progress.done:,} of "
            f"{plural(progress.total, 'image')}",
            rate(progress.rate),
            time_left(progress.seconds_left),
        )
        return Text(", ".join(part for part in parts if part))

    def extraction_end(self, progress: ExtractionProgress, stored: bool) -> Text:
        """A finished extraction."""
        title = f"Features of {self._text.fit(progress.split, _NAME_CELLS)}"
        if stored:
            return Text(f"{title}: {plural(progress.total, 'image')}, stored before")
        done, seconds = progress.total - progress.resumed, progress.seconds
        state = f"{plural(done, 'image')} in {duration(seconds)}"
        if seconds > 0:
            state += f" ({rate(done / seconds)})"
        if progress.resumed:
            state += f", {progress.resumed:,} stored before"
        return Text(f"{title}: {state}")

    def phase_header(self, phase: Phase) -> Iterator[Text]:
        """What a phase trains."""
        images = plural(phase.num_images, "image")
        yield self._titled(phase, f"{plural(phase.epochs, 'epoch')} of {images}")
        yield Text(
            f"Parameters: {phase.trainable_parameters:,} trainable, "
            f"{phase.frozen_parameters:,} frozen"
        )

    def solving(self, phase: Phase) -> Text:
        """A head that is being computed without steps."""
        return self._titled(phase, f"solving the head for {plural(phase.num_images, 'image')}")

    def solved(self, result: PhaseResult) -> Text:
        """A head that was computed without steps, in one line."""
        phase = result.phase
        parts = [f"solved in {duration(result.seconds)} for {plural(phase.num_images, 'image')}"]
        if result.chosen:
            settings = ", ".join(f"{key} = {value}" for key, value in result.chosen.items())
            parts.append(f"{settings}, chosen by the validation images")
        metrics = {key: values[-1] for key, values in result.history.items() if values}
        for title, key, is_share in _FIGURES:
            if key in metrics:
                parts.append(f"{title.lower()} {_figure(metrics[key], is_share)}")
        parts.append(
            f"{phase.trainable_parameters:,} parameters, {phase.frozen_parameters:,} frozen"
        )
        return self._titled(phase, "; ".join(parts))

    def epoch_head(self, phase: Phase) -> Text:
        """The head of the epoch table."""
        heads = "".join(f"{title:>{_FIGURE_CELLS}}" for title, _, _ in self._figures())
        seconds = "" if self._narrow else f"{'Seconds':>{_FIGURE_CELLS}}"
        return Text(f"{'Epoch':>{_epoch_cells(phase)}}{heads}{seconds}", style="bold")

    def epoch_line(
        self, phase: Phase, epoch: int, metrics: Mapping[str, float], seconds: float
    ) -> Text:
        """One line of the epoch table."""
        return self._row(phase, f"{epoch}/{phase.epochs}", metrics, seconds)

    def phase(self, progress: PhaseProgress, cells: int) -> list[Text]:
        """A phase under way: how far it is, the last and the best figures, the validation loss."""
        phase = progress.phase
        lines = [self._bar(f"Epoch {progress.epoch}/{phase.epochs}", progress.share, cells)]
        count = f"{progress.done:,} of {progress.total:,} images" if progress.total else "starting"
        left = time_left(progress.seconds_left)
        lines.append(self._state([count, rate(progress.rate), left], cells))
        if not progress.finished:
            return lines
        rows = [("last", progress.finished)]
        if progress.best is not None:
            rows.append(("best", progress.best))
        lines.append(self.epoch_head(phase))
        for name, epoch in rows:
            metrics = {key: values[epoch - 1] for key, values in progress.history.items()}
            seconds = progress.epoch_seconds[epoch - 1]
            lines.append(self._row(phase, f"{name} {epoch}", metrics, seconds))
        spark = self._sparkline(progress.history, cells)
        return [*lines, *([] if spark is None else [spark])]

    def epochs(self, progress: PhaseProgress, kept: int | None = None) -> Iterator[Text]:
        """The table of the epochs that are finished; of many epochs not all."""
        phase, count = progress.phase, progress.finished
        if not count:
            return
        step = 1 if count <= MAX_EPOCH_ROWS else -(-count // (MAX_EPOCH_ROWS - 2))
        chosen = {1, count, *range(step, count + 1, step)}
        remarks = {epoch: "lowest val loss" for epoch in [progress.best] if epoch}
        if kept is not None:
            remarks[kept] = "kept"
        yield self.epoch_head(phase)
        for epoch in sorted(chosen | set(remarks)):
            metrics = {key: values[epoch - 1] for key, values in progress.history.items()}
            line = self.epoch_line(phase, epoch, metrics, progress.epoch_seconds[epoch - 1])
            remark = f" {self._text.pointer} {remarks[epoch]}" if epoch in remarks else ""
            yield line.append(remark) if line.cell_len + len(remark) < self._console.width else line
        spark = self._sparkline(progress.history, self._console.width - 2)
        if spark is not None:
            yield spark

    def phase_end(self, result: PhaseResult) -> Iterator[Text]:
        """Whose epoch's weights a phase kept."""
        epochs, best = len(result.history.get("loss", ())), best_epoch(result.history)
        if result.kept_epoch is not None:
            early = f"Stopped early after {plural(epochs, 'epoch')}. "
            yield Text(
                f"{early if epochs < result.phase.epochs else ''}"
                f"Kept the weights of the best epoch, {result.kept_epoch}."
            )
        elif best is not None:
            loss = result.history["val_loss"][best - 1]
            yield Text(
                f"Kept the last epoch's weights; lowest validation loss {loss:.4f} in epoch {best}."
            )

    @property
    def _narrow(self) -> bool:
        return self._console.width < _NARROW

    def _figures(self) -> Sequence[tuple[str, str, bool]]:
        return [item for item in _FIGURES if not (self._narrow and item[1] == "accuracy")]

    def _titled(self, phase: Phase, what: str) -> Text:
        title = Text(f"Phase {self._text.fit(phase.name, _NAME_CELLS)}", style="bold")
        return title.append(f": {self._text.safe(what)}", style="not bold")

    def _row(self, phase: Phase, name: str, metrics: Mapping[str, float], seconds: float) -> Text:
        figures = "".join(
            f"{_figure(metrics.get(key), is_share):>{_FIGURE_CELLS}}"
            for _, key, is_share in self._figures()
        )
        digits = 1 if seconds >= 1 else 2
        last = "" if self._narrow else f"{seconds:>{_FIGURE_CELLS}.{digits}f}"
        return Text(f"{name:>{_epoch_cells(phase)}}{figures}{last}")

    def _bar(self, title: str, share: float, cells: int) -> Text:
        line = Text(self._text.fit(title, max(cells - 15, 4)), style="bold")
        room = cells - line.cell_len - 9
        if room >= _LEAST_BAR_CELLS:
            done = self._text.bar(share, room)
            line.append("  ").append(done, style=self._palette.accent + _NOT_BOLD)
            line.append(self._text.line * (room - len(done)), style="not bold dim")
        return line.append(f" {100 * share:3.0f} %", style="not bold")

    def _state(self, parts: Sequence[str], cells: int) -> Text:
        known = [part for part in parts if part]
        while len(known) > 1 and len("   ".join(known)) > cells:
            known.pop(0)
        return Text(self._text.cut("   ".join(known), cells))

    def _sparkline(self, history: Mapping[str, list[float]], cells: int) -> Text | None:
        losses = history.get("val_loss", [])
        if len(losses) < 2:
            return None
        ends = f"  {_figure(losses[0], False)} to {_figure(losses[-1], False)}"
        line = Text("Val loss  ", style="bold")
        shown = self._text.sparkline(losses, max(4, min(60, cells - 10 - len(ends))))
        line.append(shown, style=self._palette.accent + _NOT_BOLD)
        return line.append(ends, style="not bold")


def _epoch_cells(phase: Phase) -> int:
    digits = len(str(phase.epochs))
    return max(9, digits + 6, 2 * digits + 2)


def _figure(value: float | None, is_share: bool) -> str:
    if value is None:
        return "-"
    if is_share:
        return percent(value)
    return f"{value:.4f}" if abs(value) < _LARGE else f"{value:.1e}"
