"""Threads: one function for many numbers, with all cores and all disk queues busy."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

CHUNK = 256


def map_in_threads(function: Callable[[int], T], count: int) -> list[T]:
    """Return ``[function(0), ..., function(count - 1)]``, computed in several threads.

    Args:
        function: Called from several threads at once; what it raises ends the whole.
        count: How many numbers, 0 or more.
    """

    def chunk(first: int) -> list[T]:
        return [function(index) for index in range(first, min(count, first + CHUNK))]

    # A future for each number would cost more than reading the header of a picture.
    with ThreadPoolExecutor(min(32, (os.cpu_count() or 1) + 4)) as pool:
        try:
            return [item for part in pool.map(chunk, range(0, count, CHUNK)) for item in part]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
