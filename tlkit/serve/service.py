"""Service: one model, the threads that decode pictures, and the batches that it sees."""

from __future__ import annotations

import asyncio
import base64
import functools
import io
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from tlkit.classifier import Classifier
from tlkit.errors import ConfigError, DataError, ExplanationError
from tlkit.explain import grad_cam
from tlkit.explain.heat_picture import overlay
from tlkit.images import read_picture
from tlkit.records import Float32Array
from tlkit.runtime import number_of_cores
from tlkit.serve.batching import Batcher
from tlkit.serve.metrics import Metrics
from tlkit.serve.refusal import Refusal, too_busy
from tlkit.serve.settings import Settings

T = TypeVar("T")
_MOST_EXPLANATIONS = 4


@dataclass(frozen=True)
class Picture:
    """One picture as it was sent.

    Attributes:
        name: What the sender calls it.
        content: The content of its file, or its pixels: uint8 or float32 (height, width, 3).
    """

    name: str
    content: Any


class Service:
    """A classifier that answers many callers.

    Attributes:
        classifier: The classifier.
        settings: The settings.
        metrics: What is counted.
        ending: Whether the service was told to end; it takes no more pictures then.
    """

    def __init__(self, classifier: Classifier, settings: Settings) -> None:
        """Prepare; ``start()`` begins.

        Args:
            classifier: The model. It is called in as many threads as there are cores, by which all
                of them are busy with an engine that uses one core for a batch.
            settings: The settings.
        """
        self.classifier, self.settings, self.ending = classifier, settings, False
        cores = number_of_cores()
        self.metrics = Metrics()
        self._batcher = Batcher(
            self._classify,
            max_batch=settings.max_batch,
            max_delay=settings.max_delay_ms / 1000,
            most=settings.max_pictures,
            workers=cores,
            on_batch=self.metrics.batched,
        )
        self._decoding = ThreadPoolExecutor(cores, "tlkit-decode")
        self._explaining = ThreadPoolExecutor(1, "tlkit-explain")
        self._explanations = 0
        self.metrics.describe(
            name=settings.name,
            run=classifier.run.info.name,
            engine=classifier.engine,
            classes=str(len(classifier.class_names)),
        )
        batcher = self._batcher
        self.metrics.watch(
            "tlkit_process_cpu_seconds", "Processor time of the process.", time.process_time
        )
        self.metrics.watch(
            "tlkit_taken_pictures", "Pictures not answered yet.", lambda: batcher.taken
        )
        self.metrics.watch(
            "tlkit_queue_pictures", "Pictures that wait for a batch.", lambda: batcher.waiting
        )

    def warm_up(self) -> None:
        """Classify nothing, so that the first caller need not wait for what is compiled."""
        size = self.classifier.image_size
        for side in (size // 2 or 1, 2 * size):
            picture = Picture("", np.zeros((side, side, 3), np.uint8))
            self._classify([self._read(picture)])

    @property
    def answered(self) -> int:
        """Requests that got a response, refusals included."""
        return self.metrics.responses

    def start(self) -> None:
        """Begin, within a running event loop."""
        self._batcher.start()

    async def finish(self) -> None:
        """Wait until all pictures that were taken are answered."""
        await self._batcher.finish()
        while self._explanations:
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """End all threads."""
        await self._batcher.stop()
        for pool in (self._decoding, self._explaining):
            pool.shutdown(wait=False, cancel_futures=True)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Return what a function returns that would hold up the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._decoding, work)

    async def classify(self, pictures: Sequence[Picture]) -> Float32Array:
        """Return the probabilities of each class, float32 (N, number of classes).

        Raises:
            Refusal: 400 if a picture cannot be read, 503 if there is no room.
        """
        with self._batcher.admit(len(pictures)) as place:
            work = (functools.partial(self._read, picture) for picture in pictures)
            decoded = await _all(self.in_thread(item) for item in work)
            return np.stack(await place.answer(decoded))

    async def explain(
        self, picture: Picture, class_name: str | None
    ) -> tuple[Float32Array, str, str | None, str | None]:
        """Return probabilities, the explained class, its heat as a PNG in base64, or why not.

        Raises:
            Refusal: 400 if the picture cannot be read or there is no such class, 503 if there is no
                room.
        """
        if self._explanations >= _MOST_EXPLANATIONS:
            raise too_busy(f"{self._explanations} explanations are being made.")
        self._explanations += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._explaining, self._explain, picture, class_name
            )
        finally:
            self._explanations -= 1

    def top(self, probabilities: Any, count: int) -> tuple[list[str], list[float]]:
        """Return the most probable classes and their probabilities, the most probable first."""
        order = np.argsort(-probabilities, kind="stable")[:count]
        names = [self.classifier.class_names[index] for index in order]
        return names, [min(1.0, float(probabilities[index])) for index in order]

    def _classify(self, pictures: Sequence[Any]) -> Float32Array:
        found = self.classifier.probabilities(np.stack(pictures))
        if not np.isfinite(found).all():
            raise RuntimeError("The model answers with values that are not finite.")
        return found

    def _read(self, picture: Picture) -> Any:
        content = picture.content
        try:
            if isinstance(content, bytes):
                content = read_picture(content, picture.name or "of the request")
            return np.asarray(self.classifier.resize(content))
        except (DataError, ConfigError) as err:
            raise Refusal(400, str(err)) from err

    def _explain(
        self, picture: Picture, class_name: str | None
    ) -> tuple[Float32Array, str, str | None, str | None]:
        names = self.classifier.class_names
        if class_name is not None and class_name not in names:
            raise Refusal(400, f"There is no class {class_name[:100]!r}; the model's metadata "
                               f"lists them.")  # fmt: skip
        pixels = self._read(picture)
        probabilities = self._classify([pixels])[0]
        index = int(probabilities.argmax()) if class_name is None else names.index(class_name)
        try:
            heat = grad_cam(self.classifier.model, pixels, index)
        except ExplanationError as err:
            return probabilities, names[index], None, str(err)
        return probabilities, names[index], _png(overlay(heat)), None


async def _all(work: Any) -> list[Any]:
    """Return all results; the first error only when all work has ended, which holds its room."""
    tasks: list[Awaitable[Any]] = list(work)
    found = await asyncio.gather(*tasks, return_exceptions=True)
    for item in found:
        if isinstance(item, BaseException):
            raise item
    return found


def _png(pixels: Any) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
