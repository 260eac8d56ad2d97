"""How long tlkit takes to start, against a Python that does nothing and against Keras.

    python tests/benchmarks/import_time.py

Each line starts a new process; the figures are medians of the seconds on the clock and of the
processor's. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time

STARTS = {
    "`python -c pass`": ["-c", "pass"],
    "`import tlkit`": ["-c", "import tlkit"],
    "`tlkit --help`": ["-m", "tlkit", "--help"],
    "`tlkit plugins`": ["-m", "tlkit", "plugins"],
    "`from tlkit import Trainer`": ["-c", "from tlkit import Trainer"],
    "`import keras`, on TensorFlow": ["-c", "import keras"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in STARTS}
    for _ in range(rounds + 1):
        for name, arguments in STARTS.items():
            found[name].append(_seconds([sys.executable, *arguments]))
    print("| | seconds | of the processor |\n|---|---|---|")
    for name, pairs in found.items():
        clock, processor = (statistics.median(pair[i] for pair in pairs[1:]) for i in (0, 1))
        print(f"| {name} | {clock:.2f} | {processor:.2f} |")


def _seconds(command: list[str]) -> tuple[float, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    clock = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
