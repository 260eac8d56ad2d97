"""Choosing an engine: the fastest installed one whose features equal TensorFlow's."""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.checked_json import read_checked_json, write_checked_json
from tlkit.engine import Engine, Forward
from tlkit.errors import EngineError, TlkitError
from tlkit.extraction import number_of_workers
from tlkit.fingerprint import digest_code
from tlkit.out_of_memory import is_out_of_memory
from tlkit.plugin_calls import plugin_call
from tlkit.records import EngineTrial, Float32Array, Int64Array
from tlkit.runtime import processor_name

if TYPE_CHECKING:
    import keras

MAX_RELATIVE_ERROR = 1e-3
PROBE_IMAGES = 128
MEASURED_SECONDS = 0.3
# Below this much work for TensorFlow, trying another engine costs more than it can save.
LEAST_SECONDS = 8.0


# Compares TensorFlow's answers with those of an engine, on images with these labels.
Judge = Callable[[Engine, Float32Array, Float32Array, Int64Array], EngineTrial]


@dataclass(frozen=True)
class Probe:
    """Real images of the data set at hand.

    Attributes:
        pixels: uint8 or float32 array (N, size, size, 3), values 0 to 255, spread over the split.
        labels: int64 array (N,).
    """

    pixels: Any
    labels: Int64Array


class EngineChooser:
    """Chooses once for a run, and remembers what it measured for later runs.

    Attributes:
        trials: What was measured, in this run or an earlier one.
        name: The engine that was chosen; empty before.
        chosen: That engine; None before.
        tensorflow: The engine that the others are compared with.
    """

    def __init__(
        self,
        engine: Engine | None,
        candidates: Sequence[Engine],
        folder: Path,
        judge: Judge | None = None,
    ) -> None:
        """Set what may be chosen.

        Args:
            engine: The engine that was asked for; None to choose the fastest.
            candidates: All engines that may be chosen, ``tensorflow`` among them.
            folder: Where the measurements are kept.
            judge: Compares an engine's answers with TensorFlow's; by default ``compare()``, which
                takes them for features.

        Raises:
            EngineError: If the engine that was asked for is not installed.
        """
        self._engine, self._folder = engine, folder
        self._judge = judge if judge is not None else compare
        self.tensorflow = next(item for item in candidates if item.name == "tensorflow")
        self._candidates = [
            item
            for item in candidates
            if item.name != "tensorflow" and item.precision == "float32" and item.is_installed()
        ]
        if engine is not None and not engine.is_installed():
            raise EngineError(
                f"The engine '{engine.name}' needs {engine.module}, which is not installed. "
                f"pip install {engine.install or engine.module}, or use the engine 'auto'."
            )
        self.trials: list[EngineTrial] = []
        self.name = ""
        self.chosen: Engine | None = None
        self._compiled: dict[str, Forward] = {}

    @property
    def precision(self) -> str:
        """What the features are computed in: part of their fingerprint."""
        return "float32" if self._engine is None else self._engine.precision

    def choose(
        self, model: keras.Model, model_digest: str, probe: Callable[[], Probe], total: int
    ) -> Forward:
        """Return the compiled model of the chosen engine.

        Args:
            model: From resized pixels to features.
            model_digest: Names the model in what is remembered.
            probe: Reads the images to measure on; called only if something must be measured.
            total: Number of images to extract, which decides whether trying pays.

        Raises:
            EngineError: If the engine that was asked for does not give TensorFlow's features.
        """
        if self.name:
            return self._compiled[self.name]
        if self._engine is not None and self._engine.name == "tensorflow":
            return self._take(self._engine, model)
        wanted = [self._engine] if self._engine is not None else self._candidates
        if not wanted:
            return self._take(self.tensorflow, model)
        # One that was asked for is measured each time: it may be under development.
        known = [self._recall(item, model_digest) for item in wanted if self._engine is None]
        self.trials = [trial for trial in known if trial is not None]
        if len(self.trials) < len(wanted):
            images = probe()
            try:
                rate = _images_per_second(self._compile(self.tensorflow, model), images.pixels)
            except Exception as err:
                if self._engine is not None or not is_out_of_memory(err):
                    raise
                # With so little memory there is nothing to be won by a choice.
                return self._take(self.tensorflow, model)
            if self._engine is None and total / rate < LEAST_SECONDS:
                self.trials = []
                return self._take(self.tensorflow, model)
            self.trials = [self._try(item, model, model_digest, images, rate) for item in wanted]
        if self._engine is not None:
            self._refuse_if_different(self.trials[0])
            return self._take(self._engine, model)
        return self._take(self._fastest(total), model)

    def reference(self, model: keras.Model) -> Forward:
        """Return a model compiled by TensorFlow, without measuring or remembering anything."""
        return self.tensorflow.compile(model)

    def _take(self, engine: Engine, model: keras.Model) -> Forward:
        self.name, self.chosen = engine.name, engine
        return self._compile(engine, model)

    def _compile(self, engine: Engine, model: keras.Model) -> Forward:
        if engine.name not in self._compiled:
            with plugin_call(engine, "compile()"):
                forward = engine.compile(model)
            # The reference runs the backbone's own layers, so that what it raises is not its fault.
            if engine.name != self.tensorflow.name:
                forward = named_forward(engine, forward)
            self._compiled[engine.name] = forward
        return self._compiled[engine.name]

    def _fastest(self, total: int) -> Engine:
        def seconds(trial: EngineTrial) -> float:
            return trial.setup_seconds + total / trial.images_per_second

        accepted = [trial for trial in self.trials if trial.accepted]
        best = min(accepted, key=seconds, default=None)
        if best is None or seconds(best) >= total / best.reference_images_per_second:
            return self.tensorflow
        return next(item for item in self._candidates if item.name == best.engine)

    def _refuse_if_different(self, trial: EngineTrial) -> None:
        assert self._engine is not None
        if trial.accepted or self._engine.precision != "float32":
            return
        raise EngineError(
            f"The engine '{trial.engine}' does not answer as TensorFlow does: {trial.reason}. "
            f"Allowed: an error up to {MAX_RELATIVE_ERROR:g} and the same accuracy. Use the engine "
            f"'tensorflow'. Is '{trial.engine}' your own? Mend it, or declare the precision that "
            f"it computes in."
        )

    def _try(
        self, engine: Engine, model: keras.Model, digest: str, probe: Probe, reference_rate: float
    ) -> EngineTrial:
        reference = self._compile(self.tensorflow, model)
        expected = reference(probe.pixels)
        begin = time.monotonic()
        # A failure is not remembered: its cause, such as a full disk, may be gone next time.
        try:
            forward = self._compile(engine, model)
            found = np.asarray(forward(probe.pixels))
            setup = time.monotonic() - begin
            trial = self._judge(engine, expected, found, probe.labels)
            wanted = trial.accepted or engine is self._engine
            rate = _images_per_second(forward, probe.pixels) if wanted else 0.0
        except TlkitError as err:
            return trial_of(engine, str(err) or type(err).__name__)
        except Exception as err:  # a third party's runtime
            return trial_of(engine, f"{type(err).__name__}: {err}")
        trial = replace(
            trial,
            images_per_second=rate,
            reference_images_per_second=reference_rate,
            setup_seconds=setup,
        )
        return self._remember(engine, digest, trial)

    def _file(self, engine: Engine, digest: str) -> Path:
        parts = [
            digest,
            engine.name,
            f"{type(engine).__module__}.{type(engine).__qualname__}",
            digest_code(type(engine)),
            {key: repr(value) for key, value in sorted(engine.options.items())},
            engine.version(),
            self.tensorflow.version(),
            processor_name(),
        ]
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
        return self._folder / f"{key}.json"

    def _recall(self, engine: Engine, digest: str) -> EngineTrial | None:
        found = read_checked_json(self._file(engine, digest))
        try:
            return None if found is None else EngineTrial(**found, remembered=True)
        except TypeError:  # of a version with other figures
            return None

    def _remember(self, engine: Engine, digest: str, trial: EngineTrial) -> EngineTrial:
        values = {key: value for key, value in asdict(trial).items() if key != "remembered"}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_checked_json(self._file(engine, digest), values)
        except OSError:  # it is measured again next time
            return trial
        return trial


def compare(
    engine: Engine, expected: Float32Array, found: Float32Array, labels: Int64Array
) -> EngineTrial:
    """Compare an engine's features with TensorFlow's on the same images.

    Args:
        engine: The engine.
        expected: TensorFlow's features (N, ...).
        found: The engine's.
        labels: The classes (N,).

    Returns:
        The largest difference divided by the largest feature, and the accuracy of one ridge
        classifier, fitted to TensorFlow's features of half of the images, on either's features of
        the rest.
    """
    from sklearn.linear_model import RidgeClassifier

    if what := mismatch(expected, found):
        return trial_of(engine, what)
    scale = max(float(np.abs(expected).max()), 1e-30)
    error = float(np.abs(found - expected).max()) / scale
    rows, expected_rows = found.reshape(len(found), -1), expected.reshape(len(expected), -1)
    accuracies = [1.0, 1.0]
    fitted, scored = np.array_split(np.random.default_rng(0).permutation(len(labels)), 2)
    if len(np.unique(labels[fitted])) > 1:
        head = RidgeClassifier().fit(expected_rows[fitted], labels[fitted])
        accuracies = [float(head.score(x[scored], labels[scored])) for x in (rows, expected_rows)]
    reason = ""
    if error > MAX_RELATIVE_ERROR:
        reason = f"relative error {error:.2g} on {len(found)} images"
    elif accuracies[0] != accuracies[1]:
        reason = f"head accuracy {accuracies[0]:.4f}, TensorFlow's {accuracies[1]:.4f}"
    return trial_of(engine, reason, error, *accuracies)


def mismatch(expected: Float32Array, found: Float32Array) -> str:
    """Return why two arrays cannot be compared; empty if they can."""
    if found.shape != expected.shape:
        return f"shape {found.shape} instead of {expected.shape}"
    return "" if np.isfinite(found).all() else "values that are not finite"


def trial_of(
    engine: Engine,
    reason: str,
    error: float = 0.0,
    accuracy: float = 0.0,
    reference_accuracy: float = 0.0,
) -> EngineTrial:
    """Return a trial of an engine without its speed; it is accepted where there is no reason."""
    return EngineTrial(
        engine=engine.name,
        version=engine.version(),
        precision=engine.precision,
        accepted=not reason,
        reason=reason,
        relative_error=error,
        accuracy=accuracy,
        reference_accuracy=reference_accuracy,
    )


def engines_folder(features: Path) -> Path:
    """Return where measurements are kept, given the folder of the features: beside it."""
    return features.absolute().with_name("engines")


def forget(folder: Path) -> None:
    """Delete what was measured and remembered in a folder."""
    for path in folder.glob("*.json"):
        path.unlink(missing_ok=True)


def named_forward(engine: Engine, forward: Forward) -> Forward:
    """Return a compiled model that names its engine in what it raises."""

    @functools.wraps(forward)
    def run(pixels: Any) -> Float32Array:
        with plugin_call(engine, "what compile() returned", keep_state=False):
            return forward(pixels)

    return run


def _images_per_second(forward: Forward, pixels: Any) -> float:
    """Run batches from several threads, as the extraction does, for about a third of a second."""
    workers = number_of_workers()
    size = max(1, len(pixels) // (2 * workers))
    batches = [pixels[first : first + size] for first in range(0, len(pixels), size)]
    done, begin = 0, 0.0
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(forward, batches):
            pass  # the first pass sets up what each thread and batch size needs
        begin = time.monotonic()
        while not done or time.monotonic() - begin < MEASURED_SECONDS:
            done += sum(len(features) for features in pool.map(forward, batches))
    return done / (time.monotonic() - begin)
