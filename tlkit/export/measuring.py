"""A program that runs one exported file: ``python -m tlkit.export.measuring REQUEST``.

It is a process of its own so that its memory is that of the file and its runtime alone. REQUEST is
a JSON file; the answers go beside it: ``probabilities.npy`` and ``figures.json``.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.export.format import Classify
from tlkit.export.formats import format_of
from tlkit.export.picture_file import read_batches

BATCHES = (1, 32)
# A measurement ends with the first of these, and has at least ten calls.
_SECONDS, _CALLS, _LEAST_CALLS = 1.0, 200, 10


def main() -> None:
    """Do what the request says."""
    request = Path(sys.argv[1])
    wanted = json.loads(request.read_text(encoding="utf-8"))
    folder, pictures = request.parent, Path(wanted["pictures"])
    classify = format_of(wanted["format"]).open(Path(wanted["file"]))
    found = np.concatenate([classify(batch) for batch in read_batches(pictures, BATCHES[-1])])
    memory = peak_memory()
    picture = next(read_batches(pictures, 1))
    speeds = {str(size): images_per_second(classify, picture, size) for size in BATCHES}
    np.save(folder / "probabilities.npy", found)
    figures = {"images_per_second": speeds, "peak_memory_bytes": memory}
    (folder / "figures.json").write_text(json.dumps(figures), encoding="ascii")


def images_per_second(classify: Classify, picture: Any, size: int) -> float:
    """Return the speed of the fastest call with a batch of one picture, repeated.

    The others say more of what else the machine does, as the documentation of timeit has it.

    Args:
        classify: From pixels to probabilities.
        picture: uint8 (1, height, width, 3).
        size: Pictures in a batch.
    """
    batch = np.repeat(picture, size, axis=0)
    classify(batch)  # the first call of a size prepares the runtime for it
    seconds: list[float] = []
    while len(seconds) < _LEAST_CALLS or (sum(seconds) < _SECONDS and len(seconds) < _CALLS):
        begin = time.perf_counter()
        classify(batch)
        seconds.append(time.perf_counter() - begin)
    return size / min(seconds)


def peak_memory() -> int | None:
    """Return the most resident memory that this process had, in bytes; None where unknown.

    On Linux it is read from /proc: what getrusage(2) tells begins at the memory of the process
    that started this one.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main()
