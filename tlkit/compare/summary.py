"""Summary: one row for each backbone, head and few_shot, over its seeds, or for each run."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tlkit.compare.records import Cell, Figures


@dataclass(frozen=True)
class Row:
    """The finished cells of one backbone, head and few_shot: means over their seeds.

    Attributes:
        backbone: Its name and options.
        head: Its name and options.
        few_shot: Images of each class to train on; 0 for all.
        name: Name of the run folder, where finished runs are compared; else empty.
        seeds: The seeds that finished; empty if none did.
        accuracy: Mean test accuracy, 0 to 1; None if no cell finished.
        deviation: Standard deviation of the test accuracy over the seeds; None with one seed.
        interval: 95 % confidence interval of the accuracy; None with several seeds.
        validation_accuracy: Mean, 0 to 1; None where there is none.
        features_seconds: Mean seconds of the extraction when it was made; None if unknown.
        features_stored: Whether no cell of the row had to extract anything.
        training_seconds: Mean.
        total_seconds: Mean.
        parameters: Number of parameters.
        model_bytes: Size of the saved model; None if it is not there.
        images_per_second: Of the extraction; None if all was stored.
    """

    backbone: str
    head: str
    few_shot: int = 0
    name: str = ""
    seeds: tuple[int, ...] = ()
    accuracy: float | None = None
    deviation: float | None = None
    interval: tuple[float, float] | None = None
    validation_accuracy: float | None = None
    features_seconds: float | None = None
    features_stored: bool = False
    training_seconds: float | None = None
    total_seconds: float | None = None
    parameters: int | None = None
    model_bytes: int | None = None
    images_per_second: float | None = None

    @property
    def label(self) -> str:
        """What the row is called in sentences and pictures."""
        return self.name or f"{self.backbone}, {self.head}"

    @property
    def seconds(self) -> float | None:
        """Extraction and training; None if one of them is not known."""
        if self.features_seconds is None or self.training_seconds is None:
            return None
        return self.features_seconds + self.training_seconds


def summarise(cells: Iterable[Cell]) -> tuple[Row, ...]:
    """Return one row for each backbone, head and few_shot, or for each named run, in order."""
    groups: dict[tuple[str, str, int, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.backbone, cell.head, cell.few_shot, cell.name), []).append(cell)
    return tuple(_row(*key, group) for key, group in groups.items())


def with_most_images(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the rows of the largest few_shot with which any row finished; of named runs all."""
    counts = {row.few_shot for row in rows if row.accuracy is not None}
    if not counts or any(row.name for row in rows):
        return tuple(rows)
    most = 0 if 0 in counts else max(counts)
    return tuple(row for row in rows if row.few_shot == most)


def best_two(rows: Sequence[Row]) -> tuple[Row, Row] | None:
    """Return the two best rows: by validation accuracy, where all have one, else by the test's."""
    finished = [row for row in rows if row.accuracy is not None]
    if len(finished) < 2:
        return None
    by_validation = chosen_by_validation(finished)

    def merit(row: Row) -> float:
        return (row.validation_accuracy if by_validation else row.accuracy) or 0.0

    first, second = sorted(finished, key=merit, reverse=True)[:2]
    return first, second


def chosen_by_validation(rows: Sequence[Row]) -> bool:
    """Return whether every finished row has a validation accuracy."""
    return all(row.validation_accuracy is not None for row in rows if row.accuracy is not None)


def _row(backbone: str, head: str, few_shot: int, name: str, cells: Sequence[Cell]) -> Row:
    finished = [(cell.seed, cell.figures) for cell in cells if cell.figures is not None]
    if not finished:
        return Row(backbone, head, few_shot, name)
    figures: list[Figures] = [item for _, item in finished]
    accuracies = [item.accuracy for item in figures]
    several = len(figures) > 1
    return Row(
        backbone=backbone,
        head=head,
        few_shot=few_shot,
        name=name,
        seeds=tuple(seed for seed, _ in finished),
        accuracy=statistics.fmean(accuracies),
        deviation=statistics.stdev(accuracies) if several else None,
        interval=None if several else figures[0].interval,
        validation_accuracy=_mean([item.validation_accuracy for item in figures]),
        features_seconds=_mean([item.features_seconds for item in figures]),
        features_stored=all(item.features_stored for item in figures),
        training_seconds=_mean([item.training_seconds for item in figures]),
        total_seconds=_mean([item.total_seconds for item in figures]),
        parameters=figures[0].parameters,
        model_bytes=figures[0].model_bytes,
        images_per_second=_mean(
            [item.images_per_second for item in figures if item.images_per_second is not None]
        ),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None
