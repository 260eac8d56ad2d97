import threading

import pytest

from tlkit.threads import CHUNK, map_in_threads


@pytest.mark.parametrize("count", [0, 1, CHUNK, 3 * CHUNK + 1])
def test_the_order_is_that_of_the_numbers(count):
    assert map_in_threads(lambda number: number * 2, count) == [2 * n for n in range(count)]


def test_several_threads_work_at_once():
    barrier = threading.Barrier(2, timeout=20)
    map_in_threads(lambda number: barrier.wait() if number % CHUNK == 0 else 0, 2 * CHUNK)


def test_an_error_ends_the_whole():
    seen = []

    def fail(number):
        seen.append(number)
        raise ValueError(f"number {number}")

    with pytest.raises(ValueError, match="number 0"):
        map_in_threads(fail, 10_000 * CHUNK)
    assert len(seen) < 10_000
