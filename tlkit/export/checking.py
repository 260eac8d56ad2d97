"""Checking: an exported file on the run's test set, against the Keras model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.errors import ExportError
from tlkit.export.format import Format, Precision
from tlkit.export.picture_file import read_batches
from tlkit.export.records import Figures
from tlkit.out_of_memory import in_halves
from tlkit.records import Float32Array, Int64Array
from tlkit.wording import plural

# Float32 in another order of additions moved no probability by more than a fiftieth of this.
LARGEST_ROUNDING = 1e-3


@dataclass(frozen=True)
class TestSet:
    """The test images of a run, on disk, and the Keras model's answers to them.

    Attributes:
        pictures: Where ``write_pictures()`` wrote them.
        labels: int64 (N,).
        probabilities: float32 (N, number of classes), the Keras model's.
    """

    __test__ = False  # no test class, whatever pytest makes of its name

    pictures: Path
    labels: Int64Array
    probabilities: Float32Array

    @property
    def accuracy(self) -> float:
        """The Keras model's share of right answers, 0 to 1."""
        return _accuracy(self.probabilities, self.labels)


def keras_answers(model: Any, pictures: Path) -> Float32Array:
    """Return the probabilities that a Keras model gives the pictures in a folder.

    Args:
        model: RGB pixels to probabilities.
        pictures: Where ``write_pictures()`` wrote them.

    Returns:
        float32 (N, number of classes).
    """
    from tlkit.runtime import no_talk_of_retracing

    with no_talk_of_retracing():
        found = [
            in_halves(model.predict_on_batch, batch, lambda size: None)
            for batch in read_batches(pictures, 32)
        ]
    return np.concatenate(found)


def measure(fmt: Format, file: Path, test_set: TestSet) -> Figures:
    """Run a file with its own runtime, in a process of its own, on the test images.

    Args:
        fmt: Its format.
        file: What the format wrote.
        test_set: The test images.

    Raises:
        ExportError: If the file cannot be run.
    """
    with tempfile.TemporaryDirectory() as folder:
        request = Path(folder) / "request.json"
        wanted = {"format": fmt.name, "file": str(file), "pictures": str(test_set.pictures)}
        request.write_text(json.dumps(wanted), encoding="utf-8")
        path = os.pathsep.join(item for item in sys.path if item)
        done = subprocess.run(
            [sys.executable, "-m", "tlkit.export.measuring", str(request)],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise ExportError(
                f"{fmt.runtime_version()} cannot run the file that was made: "
                f"{said[-1] if said else f'exit code {done.returncode}'}"
            )
        figures = json.loads((Path(folder) / "figures.json").read_text(encoding="ascii"))
        probabilities = np.load(Path(folder) / "probabilities.npy", allow_pickle=False)
    accuracy = _accuracy(probabilities, test_set.labels)
    return Figures(
        accuracy=accuracy,
        accuracy_change=accuracy - test_set.accuracy,
        largest_difference=float(np.abs(probabilities - test_set.probabilities).max()),
        images_per_second={int(k): v for k, v in figures["images_per_second"].items()},
        peak_memory_bytes=figures["peak_memory_bytes"],
    )


def find_fault(figures: Figures, precision: Precision, tolerance: float, images: int) -> str | None:
    """Return what is wrong with an exported file, or None.

    Args:
        figures: What the test set says of it.
        precision: Of its weights.
        tolerance: The largest change of accuracy that is allowed, in percentage points.
        images: How many images the test set has.
    """
    change = 100 * figures.accuracy_change
    # Not `> tolerance`, so that what is no number is a fault; a count's rounding is none.
    if not abs(change) <= tolerance + 1e-9:
        return (
            f"the test accuracy changes by {change:+.2f} percentage points (net "
            f"{abs(figures.accuracy_change) * images:,.0f} of {plural(images, 'image')}), more "
            f"than the tolerance of {tolerance:g}"
        )
    if precision == "float32" and not figures.largest_difference <= LARGEST_ROUNDING:
        return (
            f"a probability differs by {figures.largest_difference:.2g} from the Keras model's, "
            f"more than float32 allows ({LARGEST_ROUNDING:g})"
        )
    if not np.isfinite(figures.largest_difference):
        return "it gives what are no probabilities"
    return None


def _accuracy(probabilities: Float32Array, labels: Int64Array) -> float:
    return float((probabilities.argmax(axis=1) == labels).mean())
