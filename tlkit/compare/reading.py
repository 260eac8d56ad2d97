"""Reading finished runs: their figures, and whether they can be compared."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.compare.grid import config_digest
from tlkit.compare.records import Figures
from tlkit.errors import RunFolderError
from tlkit.records import RunResult
from tlkit.run_folder import MODEL, RUN, load_run
from tlkit.text import printable

CELL = "cell.json"
_MOST_NAMES = 3
_NO_SETTINGS = ("run.name", "run.test_images")


def figures_of(result: RunResult) -> Figures:
    """Return the figures of a finished run with a folder."""
    folder = result.folder
    assert folder is not None
    first = result.phases[0].phase
    images = sum(item.num_images for item in result.extractions)
    seconds = sum(item.seconds for item in result.extractions)
    stored = all(value == "stored" for value in result.feature_cache.values())
    return Figures(
        accuracy=result.accuracy,
        interval=getattr(result.test, "accuracy_interval", None),
        validation_accuracy=_validation_accuracy(result),
        test_images=len(result.test.labels),
        test_fingerprint=str(result.fingerprints.get("test", "")),
        labels_fingerprint=str(result.fingerprints.get("labels", "")),
        features_seconds=_features_seconds(folder, result),
        features_stored=bool(result.feature_cache) and stored,
        training_seconds=result.seconds.get("training", 0.0),
        total_seconds=result.seconds["total"] - result.seconds.get("start", 0.0),
        parameters=first.trainable_parameters + first.frozen_parameters,
        model_bytes=_size(folder),
        images_per_second=images / seconds if seconds else None,
        train_images=result.info.num_train,
        smallest_class=min(result.info.class_counts, default=None),
    )


def finished_runs(runs: Path) -> Iterator[tuple[str, Path, Mapping[str, str]]]:
    """Yield the digest, the folder and the fingerprints of each finished run, the oldest first."""
    for path in sorted(runs.glob(f"*/{RUN}")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            yield config_digest(record["info"]["config"]), path.parent, record["fingerprints"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue  # a damaged folder is no finished cell


def load_figures(folder: Path) -> Figures:
    """Read the figures of a finished run.

    Raises:
        RunFolderError: If the folder is not that of a finished run.
    """
    return figures_of(load_run(folder))


def right_answers(results: Mapping[str, RunResult]) -> dict[str, np.ndarray]:
    """Return for each run which test images it gets right: bool (N,), the same images for all.

    Raises:
        RunFolderError: If the runs were not tested on the same images with the same labels.
    """
    (first, reference), *others = results.items()
    for name, result in others:
        problem = _not_the_same_test(reference, result)
        if problem:
            raise RunFolderError(
                f"Cannot compare {first} and {name}: {problem}. McNemar's test needs runs that "
                f"were tested on the same images."
            )
    return {name: result.test.predictions == result.test.labels for name, result in results.items()}


# Of runs that were made before there were such settings.
_DEFAULTS = {"test_time_augmentation.mirror": "False", "test_time_augmentation.scales": "[]"}


def differing_settings(
    configs: Sequence[Mapping[str, Any]],
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the settings that are not the same in all configs, each with its values as text."""
    flat = [
        {
            f"{table}.{key}": str(value)
            for table, entries in config.items()
            if isinstance(entries, Mapping)
            for key, value in entries.items()
        }
        for config in configs
    ]
    for item in flat:
        for key, value in _DEFAULTS.items():
            item.setdefault(key, value)
    keys = dict.fromkeys(key for item in flat for key in item if key not in _NO_SETTINGS)
    rows = ((key, tuple(item.get(key, "-") for item in flat)) for key in keys)
    return tuple((key, values) for key, values in rows if len(set(values)) > 1)


def _not_the_same_test(first: RunResult, second: RunResult) -> str:
    if first.info.class_names != second.info.class_names:
        return f"their classes differ: {_differing_names(first, second)}"
    counts = len(first.test.labels), len(second.test.labels)
    if counts[0] != counts[1]:
        return f"they have {counts[0]} and {counts[1]} test images"
    digests = [str(result.fingerprints.get("test", "")) for result in (first, second)]
    if digests[0] != digests[1]:
        return f"their test images differ (fingerprints {digests[0][:12]} and {digests[1][:12]})"
    if not np.array_equal(first.test.labels, second.test.labels):
        count = int((first.test.labels != second.test.labels).sum())
        return f"the labels of {count} of {counts[0]} test images differ"
    return ""


def _differing_names(first: RunResult, second: RunResult) -> str:
    names = first.info.class_names, second.info.class_names
    if len(names[0]) != len(names[1]):
        return f"there are {len(names[0])} and {len(names[1])}"
    if sorted(names[0]) == sorted(names[1]):
        label = next(i for i, (a, b) in enumerate(zip(*names, strict=True)) if a != b)
        first_name, second_name = (_listed(item[label : label + 1]) for item in names)
        return f"in another order, label {label} is {first_name} and {second_name}"
    own = [[name for name in a if name not in b] for a, b in (names, names[::-1])]
    return f"only the first has {_listed(own[0])}, only the second {_listed(own[1])}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(printable(name, 40) for name in names[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def _validation_accuracy(result: RunResult) -> float | None:
    if result.info.validates_on_test:
        return None
    return result.phases[-1].figures().get("val_accuracy")


def _features_seconds(folder: Path, result: RunResult) -> float | None:
    """Return what the extraction took when it was made."""
    try:
        record = json.loads((folder / CELL).read_text(encoding="utf-8"))
        seconds = [item["seconds"] for item in record["features"]]
        return None if None in seconds else float(sum(seconds))
    except (OSError, ValueError, KeyError, TypeError):
        if any(value == "stored" for value in result.feature_cache.values()):
            return None  # by an earlier run, which this one does not know
        return result.seconds.get("features", 0.0)


def _size(folder: Path) -> int | None:
    try:
        return (folder / MODEL).stat().st_size
    except OSError:
        return None
