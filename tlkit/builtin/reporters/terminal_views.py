"""What the terminal shows of a run: each view is a list of Rich renderables."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.text import Text

from tlkit import ClassReport, EngineTrial, Extraction, PhaseResult, RunInfo, RunResult
from tlkit.builtin.reporters.figures import figure_rows
from tlkit.builtin.reporters.terminal_colours import Palette
from tlkit.builtin.reporters.terminal_matrix import MatrixViews
from tlkit.builtin.reporters.terminal_text import ConsoleText, describe, duration
from tlkit.builtin.reporters.terminal_training import TrainingViews
from tlkit.wording import accuracy_text, lineage_rows, old_classes_text, percent, plural

MAX_REPORT_CLASSES = 100
MAX_WEAKEST = 15
MAX_FILES = 20
MAX_NAMED = 5
# From here on a classifier gains visibly from the frequency of a class alone.
UNBALANCED = 2.0
FEW_IMAGES = 10
_UNEVEN = 1.05
_NAME_CELLS = 40
_KEY_CELLS, _FIGURE_CELLS = 12, 20
# Of the table of classes: in a narrow console F1 and support only.
_NARROW = 60
_NUMBER_CELLS = 10
_LEAST_BAR_CELLS, _MOST_BAR_CELLS = 8, 30
# A line does not end between a number and its unit. Rich also breaks at non-breaking spaces.
_UNIT, _NO_BREAK = re.compile(r"(?<=\d) (?=(?:%|s)(?!\w))"), "\ue000"


class Views:
    """The views of one console."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.text, self.palette = ConsoleText(console), Palette(console)
        self.training = TrainingViews(console, self.text, self.palette)
        self._matrix = MatrixViews(console, self.text, self.palette)

    @property
    def width(self) -> int:
        """Cells in a line."""
        return self.console.width

    def run_header(self, run: RunInfo) -> Iterator[RenderableType]:
        """What is about to run."""
        yield Text(f"Run {self.text.fit(run.name, self.width - 4)}", style="bold")
        counts = (
            f"{plural(len(run.class_names), 'class')}; images: {run.num_train:,} train, "
            f"{run.num_validation:,} validation, {run.num_test:,} test"
        )
        rows = [("Dataset", f"{describe(run.config.get('dataset'))}; {counts}")]
        for key in ("backbone", "head", "workflow"):
            if key in run.config:
                idle = run.idle_options.get(key, ())
                rows.append((key.capitalize(), describe(run.config[key], idle)))
        if run.lineage is not None:
            rows += lineage_rows(run.lineage)
        engine = run.config.get("engine", {})
        if engine.get("name", "auto") != "auto":
            asked = {key: engine[key] for key in engine if key not in ("distribute", "ray")}
            rows.append(("Engine", f"{describe(asked)}, as asked for"))
        if engine.get("distribute", "none") != "none":
            address = engine.get("ray", {}).get("address") or "started on this machine"
            rows.append(("Distributed", f"features by {engine['distribute']}, {address}"))
        sharing = run.config.get("run", {}).get("distribute", "none")
        if sharing != "none":
            rows.append(("Distributed", f"batches of fine-tuning, {sharing}"))
        features = run.config.get("features", {})
        if features.get("views"):
            settings = ", ".join(f"{key} {features[key]}" for key in ("flip", "crop", "colour"))
            rows.append(("Views", f"{features['views']} of each training image: {settings}"))
        if run.looks:
            rows.append(("Test time", f"mean over {run.looks}"))
        if features.get("store"):
            rows.append(("Shared in", features["store"]))
        if features.get("dtype", "float32") != "float32":
            rows.append(("Features", f"stored as {features['dtype']}"))
        rows.append(("Folder", "none: nothing is saved" if run.folder is None else str(run.folder)))
        rows += self._balance(run)
        rows += [("Note", note) for note in run.notes]
        yield from self._pairs(rows)

    def _balance(self, run: RunInfo) -> list[tuple[str, str]]:
        """How evenly the training images are spread over the classes."""
        if not run.class_counts:
            return []
        counts = list(zip(run.class_counts, run.class_names, strict=True))
        least, smallest = min(counts, key=lambda item: item[0])
        most, largest = max(counts, key=lambda item: item[0])
        text = f"{plural(least, 'training image')} in each class"
        if least < most:
            smallest, largest = self.text.fit(smallest, 30), self.text.fit(largest, 30)
            text = f"{least:,} ({smallest}) to {most:,} ({largest}) training images in a class"
        if least > 0 and run.imbalance >= _UNEVEN:
            text += f", {run.imbalance:.1f} times as many"
        rows = [("Balance", text)]
        if run.imbalance >= UNBALANCED:
            weighed = run.config.get("workflow", {}).get("class_weight", "none") != "none"
            advice = '[workflow] class_weight = "balanced" gives every class the same weight.'
            text = f"Unbalanced classes. {advice}"
            rows.append(
                ("Note", "Unbalanced classes, weighed by class_weight.")
                if weighed
                else ("Warning", text)
            )
        few = sorted(item for item in counts if item[0] < FEW_IMAGES)
        if few:
            named = [f"{self.text.fit(name, 30)} ({count})" for count, name in few[:MAX_NAMED]]
            more = f" and {len(few) - MAX_NAMED:,} more" if len(few) > MAX_NAMED else ""
            text = f"Fewer than {FEW_IMAGES} training images: {', '.join(named)}{more}."
            rows.append(("Warning", text))
        return rows

    def engine(self, name: str, trials: Sequence[EngineTrial]) -> Iterator[Text]:
        """Which engine runs the backbone, and how each other one compared with TensorFlow."""
        yield from self._pairs([("Engine", name), *(("", _trial(trial)) for trial in trials)])

    def result(self, result: RunResult) -> Iterator[RenderableType]:
        """All that a finished run has to show."""
        yield Text()
        yield self._headline(result)
        yield from self._pairs(figure_rows(result.test), _FIGURE_CELLS)
        yield from self._class_report(result)
        yield from self._matrix.confusion(result)
        yield Text()
        yield from self._pairs(self._summary(result))

    def _headline(self, result: RunResult) -> Panel:
        line = Text(f"Test accuracy {accuracy_text(result.test)}", style="bold")
        line.append(f"\nLoss {result.test.loss:.4f}", style="not bold")
        line.append(f"   {plural(len(result.test.labels), 'image')}", style="not bold")
        title = Text(self.text.fit(result.info.name, max(8, min(_NAME_CELLS, self.width - 8))))
        title.overflow = line.overflow = "crop"  # Rich's own ellipsis is not ASCII
        return Panel(
            line, title=title, title_align="left", expand=False, border_style=self.palette.accent
        )

    def _class_report(self, result: RunResult) -> Iterator[RenderableType]:
        classes = result.test.classes
        title = "Classification report"
        if len(classes) > MAX_REPORT_CLASSES:
            title += f": the {MAX_WEAKEST} of {len(classes):,} classes with the lowest F1"
            present = [item for item in classes if item.support]
            classes = tuple(sorted(present, key=lambda item: item.f1)[:MAX_WEAKEST])
        rows = [*classes, *result.test.averages]
        numbers = ["Precision", "Recall", "F1", "Support"]
        if self.width < _NARROW:
            numbers = ["F1", "Support"]
        used = len(numbers) * _NUMBER_CELLS
        names = [item.name for item in rows]
        cells = self.text.widest(names, max(8, min(_NAME_CELLS, self.width - used - 12)))
        cells = max(cells, len("Class"))
        bar = min(self.width - cells - used - 2, _MOST_BAR_CELLS)
        bar = bar if bar >= _LEAST_BAR_CELLS else 0
        yield Text(f"\n{title}", style="bold")
        heads = "".join(f"{name:>{_NUMBER_CELLS}}" for name in numbers)
        yield Text(f"{'Class':<{cells}}{heads}{'  F1' if bar else ''}", style="bold")
        for index, item in enumerate(rows):
            if index in (0, len(classes)):
                yield Text(self.text.line * (cells + used + (bar and bar + 2)), style="dim")
            yield self._class_row(item, cells, numbers, bar)

    def _class_row(self, item: ClassReport, cells: int, numbers: Sequence[str], bar: int) -> Text:
        figures = {
            "Precision": percent(item.precision),
            "Recall": percent(item.recall),
            "F1": percent(item.f1),
            "Support": f"{item.support:,}",
        }
        line = Text(self.text.column(item.name, cells))
        line.append("".join(f"{figures[name]:>{_NUMBER_CELLS}}" for name in numbers))
        if bar and item.support:
            line.append("  ").append(self.text.bar(item.f1, bar), style=self.palette.accent)
        return line

    def _summary(self, result: RunResult) -> list[tuple[str, str]]:
        seconds = ", ".join(f"{part} {value:.1f}" for part, value in result.seconds.items())
        rows = [("Training", _phase(item)) for item in result.phases]
        if result.info.lineage is not None:
            change = old_classes_text(result.info.lineage)
            rows += [("Old classes", change)] if change else []
        rows.append(("Seconds", seconds))
        rows += [("Extraction", _extraction(item)) for item in result.extractions]
        stored = [split for split, state in result.feature_cache.items() if state == "stored"]
        if stored:
            rows.append(("Features", f"stored before: {', '.join(stored)}"))
        if result.folder is not None:
            rows.append(("Folder", str(result.folder)))
            rows.append(("Saved", _listing(result.folder)))
        rows += [("Warning", warning) for warning in result.warnings]
        return rows

    def _pairs(
        self, rows: Iterable[tuple[str, str]], key_cells: int = _KEY_CELLS
    ) -> Iterator[Text]:
        """Yield keys and values; long values go on below where they began."""
        for key, value in rows:
            text = Text(_UNIT.sub(_NO_BREAK, self.text.safe(value)))
            lines = text.wrap(self.console, max(self.width - key_cells, 8), overflow="fold")
            for number, line in enumerate(lines):
                line.rstrip()
                line.plain = line.plain.replace(_NO_BREAK, " ")
                head = "" if number else key
                style = self.palette.alarm if key == "Warning" else "bold"
                yield Text.assemble((f"{head:<{key_cells}}", style), line)


def _phase(result: PhaseResult) -> str:
    """Return how long a phase took and what it kept, in words."""
    seconds = f"{result.phase.name}: {duration(result.seconds)}"
    if not result.phase.steps:
        chosen = ", ".join(f"{key} = {value}" for key, value in result.chosen.items())
        return f"{seconds}, solved" + (f" with {chosen}" if chosen else "")
    done, asked = len(result.history.get("loss", ())), result.phase.epochs
    if not done:
        return f"{seconds}; no epoch of {asked:,} was finished, the weights are those of before"
    epochs = plural(done, "epoch") if done == asked else f"{done:,} of {plural(asked, 'epoch')}"
    kept = "last" if result.kept_epoch is None else f"best, {result.kept_epoch}"
    return f"{seconds} for {epochs}; kept the weights of the {kept}"


def _trial(trial: EngineTrial) -> str:
    """Return how an engine compared with TensorFlow, in words."""
    name = " ".join(part for part in (trial.engine, trial.version.split("-")[0]) if part)
    when = " (measured by an earlier run)" if trial.remembered else ""
    if not trial.accepted:
        return f"{name} refused: {trial.reason}{when}"
    ratio = trial.images_per_second / max(trial.reference_images_per_second, 1e-9)
    return (
        f"{name}: {ratio:.1f} x TensorFlow's images/s, relative error "
        f"{trial.relative_error:.0e}, same head accuracy{when}"
    )


def _extraction(item: Extraction) -> str:
    """Return where the time of an extraction went, in words."""
    total = sum(item.stage_seconds.values()) or 1.0
    stages = ", ".join(
        f"{stage} {100 * value / total:.0f} %"
        for stage, value in item.stage_seconds.items()
        if value
    )
    return (
        f"{item.split}: {item.num_images / max(item.seconds, 1e-9):,.0f} images/s with "
        f"{item.engine}{_workers(item)}, batches of {item.batch_size}; {stages}"
    )


def _workers(item: Extraction) -> str:
    """Return on how many workers and nodes of a cluster an extraction ran, in words."""
    if not item.workers:
        return ""
    nodes = {name.rpartition(" ")[0] for name in item.workers}
    return f" on {plural(len(item.workers), 'Ray worker')} of {plural(len(nodes), 'node')}"


def _listing(folder: Path) -> str:
    """Return the files of a folder on one line; temporary files begin with a dot."""
    paths = (
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part[0] == "." for part in path.relative_to(folder).parts)
    )
    found = sorted(itertools.islice(paths, 1000))
    names = [path.relative_to(folder).as_posix() for path in found[:MAX_FILES]]
    if len(found) > MAX_FILES:
        names.append(f"and {len(found) - MAX_FILES} more")
    return ", ".join(names) or "nothing yet"
