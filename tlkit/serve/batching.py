"""Batcher: pictures of several requests are classified together.

A batch goes when it is full, when the oldest picture in it has waited long enough, or when no other
picture is on its way: a single caller never waits for others that do not come.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from tlkit.serve.refusal import ENDING, Refusal, too_busy

# To a sequence as long as the given one, such as the rows of an array.
Answer = Callable[[Sequence[Any]], Any]


class Place:
    """Room for the pictures of one request, from before they are decoded until they are answered.

    Attributes:
        count: The number of pictures.
    """

    def __init__(self, batcher: Batcher, count: int) -> None:
        """Take the room; ``Batcher.admit()`` does so."""
        self.count, self._batcher, self._come = count, batcher, False

    async def answer(self, pictures: Sequence[Any]) -> list[Any]:
        """Return the answer to each picture, in order.

        Args:
            pictures: As many as there is room for.

        Raises:
            Exception: What the batch raised that one of them was in.
        """
        assert len(pictures) == self.count
        self.came()
        return await self._batcher.wait_for(pictures)

    def came(self) -> None:
        """Nobody need wait for these pictures any more."""
        if not self._come:
            self._come = True
            self._batcher.came(self.count)


class Batcher:
    """Gathers pictures into batches and hands each to a thread.

    Attributes:
        taken: Pictures of requests that are not answered yet.
        waiting: Pictures that are ready, and in no batch yet.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        max_batch: int,
        max_delay: float,
        most: int,
        workers: int = 1,
        on_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        """Prepare; ``start()`` begins.

        Args:
            answer: From 1 to ``max_batch`` pictures to as many answers, in order. It is called in
                threads, by ``workers`` at once.
            max_batch: Most pictures of one batch.
            max_delay: Seconds that a picture waits for others at most.
            most: Most pictures at one time, from decoding to the answer.
            workers: Batches that are answered at once.
            on_batch: Told the size of each batch.
        """
        self.max_batch, self.max_delay, self.most = max_batch, max_delay, most
        self.taken = self._coming = 0
        self._answer, self._on_batch = answer, on_batch
        self._queue: deque[tuple[float, Any, asyncio.Future[Any]]] = deque()
        self._news, self._empty = asyncio.Event(), asyncio.Event()
        self._free = asyncio.Semaphore(workers)
        self._threads = ThreadPoolExecutor(workers, "tlkit-model")
        self._running: set[asyncio.Task[None]] = set()
        self._gathering: asyncio.Task[None] | None = None
        self._empty.set()

    @property
    def waiting(self) -> int:
        """Pictures that are ready, and in no batch yet."""
        return len(self._queue)

    def start(self) -> None:
        """Begin, within a running event loop."""
        self._gathering = asyncio.create_task(self._gather_batches())

    async def finish(self) -> None:
        """Wait until every picture that was taken is answered."""
        await self._empty.wait()

    async def stop(self) -> None:
        """End the threads; what still waits is refused."""
        if self._gathering is not None:
            self._gathering.cancel()
            with suppress(asyncio.CancelledError):
                await self._gathering
        for _, _, future in self._queue:
            if not future.done():
                future.set_exception(too_busy(ENDING))
        self._threads.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def admit(self, count: int) -> Iterator[Place]:
        """Yield room for pictures.

        Raises:
            Refusal: 503 if there is none now, 400 if there never is.
        """
        if count > self.most:
            raise Refusal(
                400, f"The request has {count:,} pictures; allowed are {self.most:,} at a time."
            )
        if self.taken + count > self.most:
            raise too_busy(f"{self.taken:,} pictures are being answered, and no more are taken.")
        place = Place(self, count)
        self.taken += count
        self._coming += count
        self._empty.clear()
        try:
            yield place
        finally:
            place.came()
            self.taken -= count
            if not self.taken:
                self._empty.set()

    def came(self, count: int) -> None:
        """Note that pictures are no longer on their way; ``Place`` calls it."""
        self._coming -= count
        self._news.set()

    async def wait_for(self, pictures: Sequence[Any]) -> list[Any]:
        """Put pictures into the queue and wait for their answers; ``Place`` calls it."""
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in pictures]
        now = loop.time()
        self._queue.extend((now, *pair) for pair in zip(pictures, futures, strict=True))
        self._news.set()
        try:
            return await asyncio.gather(*futures)
        finally:
            for future in futures:
                if not future.done():
                    future.cancel()
                elif not future.cancelled():
                    future.exception()  # else asyncio tells of those that gather() did not

    async def _gather_batches(self) -> None:
        while True:
            # With every thread busy pictures gather by themselves.
            await self._free.acquire()
            batch: list[tuple[Any, asyncio.Future[Any]]] = []
            while not batch:
                await self._until_due()
                while self._queue and len(batch) < self.max_batch:
                    _, picture, future = self._queue.popleft()
                    if not future.done():  # its caller may have given up
                        batch.append((picture, future))
            task = asyncio.create_task(self._run(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _until_due(self) -> None:
        loop = asyncio.get_running_loop()
        while len(self._queue) < self.max_batch:
            left = None
            if self._queue:
                left = self._queue[0][0] + self.max_delay - loop.time()
                if left <= 0 or not self._coming:
                    return
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._news.wait()

    async def _run(self, batch: list[tuple[Any, asyncio.Future[Any]]]) -> None:
        pictures = [picture for picture, _ in batch]
        try:
            self._on_batch(len(batch))
            loop = asyncio.get_running_loop()
            answers = await loop.run_in_executor(self._threads, self._answer, pictures)
            if len(answers) != len(batch):
                raise RuntimeError(f"{len(answers)} answers to {len(batch)} pictures")
        except Exception as err:
            for _, future in batch:
                if not future.done():
                    future.set_exception(err)
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
        finally:
            self._free.release()
