"""What the terminal shows of a run: each view is a list of Rich renderables."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.style import Style
from rich.table import Table
from rich.text import Text

from tlkit import ClassReport, EngineTrial, Extraction, Phase, PhaseResult, RunInfo, RunResult
from tlkit.builtin.reporters.figures import accuracy_text, figure_rows, percent
from tlkit.builtin.reporters.terminal_text import ConsoleText, describe, plural

if TYPE_CHECKING:
    import numpy as np

MAX_HEAT_MAP_CLASSES = 20
MAX_REPORT_CLASSES = 100
MAX_CONFUSIONS = 15
MAX_FILES = 20
MAX_NAMED = 5
# From here on a classifier gains visibly from the frequency of a class alone.
UNBALANCED = 2.0
FEW_IMAGES = 10
_NAME_CELLS = 40
_KEY_CELLS, _FIGURE_CELLS = 12, 20
_SMALLEST_COLOURED_SHARE = 0.03
_NARROWEST_CELL, _WIDEST_CELL = 3, 8

EPOCH_COLUMNS = (("Epoch", 9), ("Loss", 10), ("Accuracy", 10), ("Val loss", 10), ("Val acc", 10))
SECONDS_CELLS = 10

# Of middle lightness, so that they stand out on dark and on light terminals alike; the share of
# the row is in the saturation. Blue and orange can be told apart by the colour-blind.
_GREY, _RIGHT, _WRONG = (150, 150, 150), (30, 120, 220), (230, 110, 0)


class Views:
    """The views of one console."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.text = ConsoleText(console)

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
        engine = run.config.get("engine", {})
        if engine.get("name", "auto") != "auto":
            rows.append(("Engine", f"{describe(engine)}, as asked for"))
        features = run.config.get("features", {})
        if features.get("views"):
            settings = ", ".join(f"{key} {features[key]}" for key in ("flip", "crop", "colour"))
            rows.append(("Views", f"{features['views']} of each training image: {settings}"))
        looks = run.config.get("test_time_augmentation", {})
        scales = [f"scale {scale:g}" for scale in looks.get("scales", ())]
        if looks.get("mirror") or scales:
            mirrored = ", all also mirrored" if looks.get("mirror") else ""
            rows.append(("Test time", f"mean over {', '.join(['the image', *scales])}{mirrored}"))
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
        if 0 < least < most:
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

    def phase_header(self, phase: Phase) -> Iterator[RenderableType]:
        """What a phase trains, and the head of the epoch table."""
        yield Text()
        title = Text(f"Phase {self.text.fit(phase.name, _NAME_CELLS)}", style="bold")
        images = plural(phase.num_images, "image")
        what = f"{plural(phase.epochs, 'epoch')} of {images}"
        parameters = f"{phase.trainable_parameters:,} trainable, {phase.frozen_parameters:,} frozen"
        if not phase.steps:
            what = f"solved on {images}, without gradient steps"
            parameters = f"{phase.frozen_parameters:,} frozen"
        yield title.append(f": {what}", style="not bold")
        yield Text(f"Parameters: {parameters}")
        heads = "".join(f"{title:>{cells}}" for title, cells in EPOCH_COLUMNS)
        yield Text(f"{heads}{'Seconds':>{SECONDS_CELLS}}", style="bold")

    def epoch_line(
        self, phase: Phase, epoch: int, metrics: Mapping[str, float], seconds: float
    ) -> Text:
        """One line of the epoch table."""
        cells = [
            f"{epoch}/{phase.epochs}",
            _loss(metrics.get("loss")),
            _share(metrics.get("accuracy")),
            _loss(metrics.get("val_loss")),
            _share(metrics.get("val_accuracy")),
        ]
        columns = zip(cells, EPOCH_COLUMNS, strict=True)
        line = "".join(f"{cell:>{width}}" for cell, (_, width) in columns)
        return Text(f"{line}{seconds:>{SECONDS_CELLS}.1f}")

    def phase_end(self, result: PhaseResult) -> Iterator[Text]:
        """What was chosen by the validation images."""
        if result.chosen:
            settings = ", ".join(f"{key} = {value}" for key, value in result.chosen.items())
            count = f"{result.phase.trainable_parameters:,} parameters in the head"
            yield Text(self.text.safe(f"Chosen by the validation images: {settings}; {count}"))
        epochs = len(result.history.get("val_loss", ()))
        if result.kept_epoch is not None:
            stopped = epochs < result.phase.epochs
            yield Text(
                f"{'Stopped early. ' if stopped else ''}Kept the weights of the best epoch, "
                f"{result.kept_epoch}"
            )

    def result(self, result: RunResult) -> Iterator[RenderableType]:
        """All that a finished run has to show."""
        yield Text()
        yield self._headline(result)
        yield from self._pairs(figure_rows(result.test), _FIGURE_CELLS)
        yield from self._class_report(result)
        names = result.info.class_names
        heat_map = self._heat_map(result) if len(names) <= MAX_HEAT_MAP_CLASSES else None
        yield from self._confusions(result) if heat_map is None else heat_map
        yield Text()
        yield from self._pairs(self._summary(result))

    def _headline(self, result: RunResult) -> Panel:
        line = Text(f"Test accuracy {accuracy_text(result.test)}", style="bold")
        line.append(f"\nLoss {result.test.loss:.4f}", style="not bold")
        line.append(f"   {plural(len(result.test.labels), 'image')}", style="not bold")
        title = Text(self.text.fit(result.info.name, max(8, min(_NAME_CELLS, self.width - 8))))
        title.overflow = line.overflow = "crop"  # Rich's own ellipsis is not ASCII
        return Panel(line, title=title, title_align="left", expand=False, border_style="green")

    def _class_report(self, result: RunResult) -> Iterator[RenderableType]:
        classes = result.test.classes
        title = "Classification report"
        if len(classes) > MAX_REPORT_CLASSES:
            title += f": the {MAX_CONFUSIONS} of {len(classes):,} classes with the lowest F1"
            present = [item for item in classes if item.support]
            classes = tuple(sorted(present, key=lambda item: item.f1)[:MAX_CONFUSIONS])
        numbers = ("Precision", "Recall", "F1", "Support")
        names = [item.name for item in (*classes, *result.test.averages)]
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        cells = self.text.widest(names, max(8, min(_NAME_CELLS, self.width - 48)))
        table.add_column("Class", width=max(cells, 5), no_wrap=True, overflow="crop")
        for head in numbers:
            table.add_column(head, justify="right", width=9, no_wrap=True, overflow="crop")
        for item in classes:
            self._add_report_row(table, item, cells)
        table.add_section()
        for item in result.test.averages:
            self._add_report_row(table, item, cells)
        yield Text(f"\n{title}", style="bold")
        yield table

    def _add_report_row(self, table: Table, item: ClassReport, cells: int) -> None:
        figures = (percent(value) for value in (item.precision, item.recall, item.f1))
        name = Text(self.text.fit(item.name, max(cells, 5)))
        table.add_row(name, *figures, f"{item.support:,}")

    def _heat_map(self, result: RunResult) -> list[RenderableType] | None:
        """Return the confusion matrix in colours, or None if the console is too narrow."""
        names, matrix = result.info.class_names, result.test.confusion_matrix
        widest_label = self.text.widest(names, 24) + 2
        label = max(min(widest_label, self.width - len(names) * 6), min(widest_label, 14))
        cell = min((self.width - label) // len(names), _WIDEST_CELL)
        if cell < _NARROWEST_CELL:
            return None
        label = min(widest_label, self.width - len(names) * cell)
        digits = len(str(matrix.max()))
        counts = digits + 1 <= cell
        heads = [self.text.cut(name, cell - 1) for name in names]
        escaped = any(self.text.safe(name) != name for name in names)
        letters = cell < 6 or escaped or len(set(heads)) < len(heads)
        if letters:
            heads = [chr(ord("A") + index) for index in range(len(names))]
        unit = "images" if counts else "per cent of the row"
        lines: list[RenderableType] = [
            Text("\nConfusion matrix", style="bold").append(
                f": row = true class, column = predicted, {unit}", style="not bold"
            ),
            Text(
                " " * label + "".join(self.text.column(head, cell, right=True) for head in heads),
                style="bold",
            ),
        ]
        for index, name in enumerate(names):
            title = f"{heads[index]} {name}" if letters else name
            line = Text(self.text.column(self.text.fit(title, label - 1), label))
            for column, share in enumerate(_row_shares(matrix)[index]):
                number = int(matrix[index, column]) if counts else round(100 * share)
                shown = "." if matrix[index, column] == 0 else str(number)
                line.append(f"{shown:>{cell - 1}} ", style=_cell_style(share, index == column))
            lines.append(line)
        return lines

    def _confusions(self, result: RunResult) -> Iterator[RenderableType]:
        import numpy as np

        matrix = result.test.confusion_matrix
        wrong = np.where(np.eye(len(matrix), dtype=bool), 0, matrix)
        order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_CONFUSIONS]
        pairs = [divmod(int(place), len(matrix)) for place in order if wrong.flat[place] > 0]
        if not pairs:
            yield Text("\nNo image of the test set was confused.", style="bold")
            return
        names = result.info.class_names
        cells = max(8, min(_NAME_CELLS, (self.width - 34) // 2))
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        head = f"True {self.text.arrow} predicted"
        widest = self.text.widest([names[index] for pair in pairs for index in pair], cells)
        table.add_column(head, width=max(2 * widest + 4, len(head)), no_wrap=True, overflow="crop")
        table.add_column("Images", justify="right", width=9, no_wrap=True, overflow="crop")
        table.add_column("Of the class", justify="right", width=12, no_wrap=True, overflow="crop")
        shares = _row_shares(matrix)
        for true, predicted in pairs:
            left, right = (
                self.text.fit(names[true], widest),
                self.text.fit(names[predicted], widest),
            )
            table.add_row(
                Text(f"{left} {self.text.arrow} {right}"),
                f"{matrix[true, predicted]:,}",
                percent(shares[true, predicted]),
            )
        yield Text("\nMost frequent confusions", style="bold")
        yield table

    def _summary(self, result: RunResult) -> list[tuple[str, str]]:
        seconds = ", ".join(f"{part} {value:.1f}" for part, value in result.seconds.items())
        rows = [("Seconds", seconds)]
        rows += [("Extraction", _extraction(item)) for item in result.extractions]
        stored = [split for split, state in result.feature_cache.items() if state == "stored"]
        if stored:
            rows.append(("Features", f"already stored: {', '.join(stored)}"))
        if result.folder is not None:
            rows.append(("Folder", str(result.folder)))
            rows.append(("Saved", _listing(result.folder)))
        rows += [("Note", note) for note in result.info.notes]
        rows += [("Warning", warning) for warning in result.warnings]
        return rows

    def _pairs(
        self, rows: Iterable[tuple[str, str]], key_cells: int = _KEY_CELLS
    ) -> Iterator[Text]:
        """Yield keys and values; long values go on below where they began."""
        for key, value in rows:
            text = Text(self.text.safe(value))
            lines = text.wrap(self.console, max(self.width - key_cells, 8), overflow="fold")
            for number, line in enumerate(lines):
                line.rstrip()
                head = "" if number else key
                style = "bold red" if key == "Warning" else "bold"
                yield Text.assemble((f"{head:<{key_cells}}", style), line)


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
        f"{stage} {value / total:.0%}" for stage, value in item.stage_seconds.items() if value
    )
    return (
        f"{item.split}: {item.num_images / max(item.seconds, 1e-9):,.0f} images/s with "
        f"{item.engine}, batches of {item.batch_size}; {stages}"
    )


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _share(value: float | None) -> str:
    return "-" if value is None else percent(value)


def _row_shares(matrix: np.ndarray) -> np.ndarray:
    import numpy as np

    shares: np.ndarray = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    return shares


def _cell_style(share: float, right: bool) -> Style:
    if share == 0:
        return Style(dim=True)
    if share < _SMALLEST_COLOURED_SHARE:
        return Style()
    # The root keeps small shares of mistakes, which are the point of the matrix, visible.
    weight = math.sqrt(share)
    target = _RIGHT if right else _WRONG
    colour = [round(low + weight * (high - low)) for low, high in zip(_GREY, target, strict=True)]
    luminance = (0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]) / 255
    text = "#000000" if luminance > 0.45 else "#ffffff"
    return Style.parse(f"{text} on #{colour[0]:02x}{colour[1]:02x}{colour[2]:02x}")


def _listing(folder: Path) -> str:
    """Return the files of a folder on one line; temporary files begin with a dot."""
    paths = (path for path in folder.rglob("[!.]*") if path.is_file())
    found = sorted(itertools.islice(paths, 1000))
    names = [path.relative_to(folder).as_posix() for path in found[:MAX_FILES]]
    if len(found) > MAX_FILES:
        names.append(f"and {len(found) - MAX_FILES} more")
    return ", ".join(names) or "nothing yet"
