"""Out of memory: telling it from other errors, and going on with smaller batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tlkit.errors import EngineError

# How TensorFlow, C++ runtimes and CUDA say it.
_WORDS = ("resource exhausted", "out of memory", "bad_alloc", "oom when", "failed to allocate")


def is_out_of_memory(err: BaseException) -> bool:
    """Return whether an error of NumPy, TensorFlow or another runtime is for want of memory."""
    if isinstance(err, MemoryError) or type(err).__name__ == "ResourceExhaustedError":
        return True
    return isinstance(err, RuntimeError) and any(word in str(err).lower() for word in _WORDS)


def in_halves(function: Callable[[Any], Any], batch: Any, smaller: Callable[[int], None]) -> Any:
    """Return what a function makes of a batch; where memory runs out, of its halves.

    Args:
        function: From a batch to an array with one row for each of its items.
        batch: What can be sliced: an array, a list or a range.
        smaller: Told the size of the halves, each time that a batch was too large.

    Raises:
        EngineError: If memory runs out for a single item.
    """
    try:
        return function(batch)
    except Exception as err:
        if not is_out_of_memory(err):
            raise
        if len(batch) == 1:
            raise EngineError(
                f"Memory runs out with a single image ({type(err).__name__}). Use a smaller "
                f"[backbone] image_size or a smaller backbone, or end other programs."
            ) from err
    import numpy as np

    # Outside of the handler, whose traceback would hold on to the arrays of the failed attempt.
    middle = -(-len(batch) // 2)
    smaller(middle)
    parts = (batch[:middle], batch[middle:])
    return np.concatenate([np.asarray(in_halves(function, part, smaller)) for part in parts])
