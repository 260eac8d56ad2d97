"""The batcher alone: answers find their callers, batches keep to their limits."""

import asyncio
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("fastapi")

from tlkit.serve.batching import Batcher
from tlkit.serve.refusal import Refusal


def drive(work, answer=lambda pictures: [-item for item in pictures], **settings):
    """Run a coroutine function with a batcher; return what it returns and the batches' sizes."""
    sizes = []

    def watched(pictures):
        sizes.append(len(pictures))
        return answer(pictures)

    async def run():
        limits = {"max_batch": 4, "max_delay": 0.002, "most": 64, **settings}
        batcher = Batcher(watched, **limits)
        batcher.start()
        try:
            return await asyncio.wait_for(work(batcher), 20)
        finally:
            await batcher.stop()

    return asyncio.run(run()), sizes


async def ask(batcher, pictures, before=0.0):
    with batcher.admit(len(pictures)) as place:
        await asyncio.sleep(before)
        return await place.answer(pictures)


@given(
    requests=st.lists(
        st.tuples(st.integers(1, 7), st.sampled_from([0.0, 0.0, 0.001, 0.003])), max_size=12
    ),
    max_batch=st.integers(1, 5),
    workers=st.integers(1, 3),
)
def test_every_request_gets_its_own_answers_in_order(requests, max_batch, workers):
    first = 0
    wanted = []
    for count, _ in requests:
        wanted.append(list(range(first, first + count)))
        first += count

    async def work(batcher):
        pairs = zip(wanted, requests, strict=True)
        found = await asyncio.gather(*(ask(batcher, item, delay) for item, (_, delay) in pairs))
        assert (batcher.taken, batcher.waiting) == (0, 0)
        return found

    def answer(pictures):
        time.sleep(0.0005 * (len(pictures) % 3))  # so that batches overtake each other
        return [-item for item in pictures]

    found, sizes = drive(work, answer, max_batch=max_batch, workers=workers, most=200)
    assert found == [[-item for item in pictures] for pictures in wanted]
    assert sum(sizes) == first
    assert max(sizes, default=0) <= max_batch


def test_what_comes_together_is_answered_together():
    async def work(batcher):
        return await asyncio.gather(*(ask(batcher, [n]) for n in range(8)))

    found, sizes = drive(work, max_batch=4, max_delay=5.0)
    assert found == [[-n] for n in range(8)]
    assert sizes == [4, 4]


def test_nobody_waits_where_nothing_else_is_on_its_way():
    async def work(batcher):
        return await ask(batcher, [1])

    # It would run into the time limit of drive().
    assert drive(work, max_delay=3600.0) == ([-1], [1])


def test_the_delay_ends_the_wait_for_what_is_on_its_way():
    async def work(batcher):
        with batcher.admit(1):  # which never comes
            return await ask(batcher, [1])

    assert drive(work, max_delay=0.01) == ([-1], [1])


def test_more_than_there_is_room_for_is_refused_and_room_comes_back():
    async def work(batcher):
        with pytest.raises(Refusal) as never:
            await ask(batcher, [0] * 9)
        with batcher.admit(8), pytest.raises(Refusal) as later:
            await ask(batcher, [1])
        assert (never.value.status, later.value.status) == (400, 503)
        assert later.value.headers == {"Retry-After": "1"}
        return await ask(batcher, [1, 2])

    assert drive(work, most=8)[0] == [-1, -2]


def test_an_error_reaches_those_of_the_batch_only():
    def answer(pictures):
        if 13 in pictures:
            raise RuntimeError("unlucky")
        return [-item for item in pictures]

    async def work(batcher):
        found = await asyncio.gather(
            ask(batcher, [13]), ask(batcher, [1]), ask(batcher, [2]), return_exceptions=True
        )
        assert batcher.taken == 0
        return found

    (error, *others), _ = drive(work, answer, max_batch=1)
    assert str(error) == "unlucky"
    assert others == [[-1], [-2]]


def test_wrong_numbers_of_answers_are_an_error():
    async def work(batcher):
        with pytest.raises(RuntimeError, match="1 answers to 2 pictures"):
            await ask(batcher, [1, 2])

    drive(work, lambda pictures: [0])


def test_a_caller_who_gives_up_takes_no_place_in_a_batch():
    held = threading.Event()

    def answer(pictures):
        held.wait(10)
        return [-item for item in pictures]

    async def work(batcher):
        first = asyncio.create_task(ask(batcher, [1]))
        await asyncio.sleep(0.02)
        second = asyncio.create_task(ask(batcher, [2]))
        await asyncio.sleep(0.02)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        third = asyncio.create_task(ask(batcher, [3]))
        await asyncio.sleep(0.02)
        held.set()
        return await first, await third

    assert drive(work, answer) == (([-1], [-3]), [1, 1])


def test_finishing_waits_for_all_that_was_taken():
    async def work(batcher):
        tasks = [asyncio.create_task(ask(batcher, [n], 0.02)) for n in range(3)]
        await asyncio.sleep(0)
        await batcher.finish()
        assert all(task.done() or batcher.taken == 0 for task in tasks)
        return await asyncio.gather(*tasks)

    assert drive(work)[0] == [[0], [-1], [-2]]
