"""Many runs, and many predictions of good and bad files, in one process: does memory grow?"""

from __future__ import annotations

import argparse
import csv
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

MEBIBYTE = 2**20
# Of the runs: the first ones fill pools that later ones use again.
WARM_UP = 0.5


def resident_bytes() -> int:
    """Return the memory that the process occupies, after Python has freed what it can."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def growth(sizes: list[int]) -> float:
    """Return the bytes that each step adds in the second half: the slope of a fitted line."""
    half = sizes[int(len(sizes) * WARM_UP) :]
    return float(np.polyfit(range(len(half)), half, 1)[0]) if len(half) > 1 else 0.0


def soak_runs(
    count: int,
    folder: Path,
    overrides: list[str],
    each: Callable[[int, int, float], None],
    least_accuracy: float = 0.15,  # a tenth is chance
) -> list[int]:
    """Run a config again and again, as a notebook would; return the memory after each run."""
    from tlkit.config.building import build_trainer
    from tlkit.features import FeatureStore

    sizes = []
    for number in range(count):
        begin = time.perf_counter()
        trainer = build_trainer(
            "quickstart",
            [*overrides, f"run.seed={number % 3}", "reporters=[]"],
            runs=folder / "runs",
            store=FeatureStore(folder / "features"),
        )
        result = trainer.run()
        assert least_accuracy <= result.accuracy <= 1, result
        del trainer, result
        sizes.append(resident_bytes())
        each(number + 1, sizes[-1], time.perf_counter() - begin)
    return sizes


@dataclass(frozen=True)
class Case:
    """A file, and what must come of it: a class, or an error that has these words."""

    path: Path
    error: str | None = None


def make_cases(folder: Path) -> list[Case]:
    """Write good and bad files."""
    import struct
    import zlib

    from PIL import Image

    from tlkit.builtin.datasets.digits import Digits

    folder.mkdir(parents=True, exist_ok=True)
    pictures = Digits().load(0).test.images
    cases = []

    def add(name: str, content: bytes, error: str | None = None) -> None:
        (folder / name).write_bytes(content)
        cases.append(Case(folder / name, error))

    def encoded(index: int, form: str, size: int | None = None, mode: str = "RGB") -> bytes:
        picture = Image.fromarray(pictures[index]).convert(mode)
        if size:
            picture = picture.resize((size, size))
        path = folder / ".scratch"
        picture.save(path, form)
        return path.read_bytes()

    for index, form in enumerate(("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")):
        add(f"digit {index}.{form.lower()}", encoded(index, form))
    add("no suffix", encoded(6, "PNG"))
    add("猫 \u202e[bold]\x1b[31m 'n\new.png", encoded(7, "PNG"))
    add("x" * 240 + ".png", encoded(8, "PNG"))
    add("-rf.png", encoded(9, "PNG"))
    add("grey.png", encoded(1, "PNG", mode="L"))
    add("cmyk.jpg", encoded(2, "JPEG", mode="CMYK"))
    add("large.jpg", encoded(3, "JPEG", 3000))
    png, jpeg = encoded(0, "PNG", 64), encoded(0, "JPEG", 64)
    add("cut.png", png[: len(png) // 2], "Cannot read the picture")
    add("cut.jpg", jpeg[: len(jpeg) // 2], "Cannot read the picture")
    add("text.png", b"This is no picture.\n" * 9, "no picture of a kind")
    add("drawing.svg.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no picture of a kind")
    add("empty.png", b"", "it is empty")

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    def header(width: int, height: int) -> bytes:
        start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        data = chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + start + data

    add("bomb.png", header(60_000, 60_000), "allowed are")
    add("lying.png", header(9_000, 9_000), "cannot hold them")
    add("long.png", header(70_000, 10), "cannot hold them")
    os.mkfifo(folder / "pipe.png")
    cases.append(Case(folder / "pipe.png", "no ordinary file"))
    if os.geteuid():
        add("forbidden.png", png, "ermission")
        (folder / "forbidden.png").chmod(0)
    (folder / ".scratch").unlink()
    return cases


def soak_predictions(count: int, run: Path, cases: list[Case], step: int) -> list[int]:
    """Call ``predict()`` again and again on a few of the files; return the memory now and then.

    Most calls share one open classifier, as a service would; every fiftieth loads the model anew.

    Raises:
        AssertionError: If a file has another answer than it should.
    """
    from tlkit import Classifier
    from tlkit.predictor import predict

    classifier = Classifier.open(run, images=len(cases))
    generator, sizes = np.random.default_rng(0), []
    known: dict[Path, object] = {}
    for number in range(count):
        chosen = [cases[i] for i in generator.integers(0, len(cases), 1 + number % 4)]
        opened = run if number % 50 == 0 else classifier
        found = list(predict(opened, [case.path for case in chosen], top=3))
        assert [item.path for item in found] == [str(case.path) for case in chosen]
        for case, item in zip(chosen, found, strict=True):
            if case.error is not None:
                assert case.error in (item.error or ""), (case, item)
                assert not item.classes
                continue
            assert item.error is None, item
            assert len(item.classes) == 3
            assert 1 >= item.confidences[0] >= item.confidences[2] >= 0
            # The same file has the same answer whatever stands beside it, and whoever answers.
            assert known.setdefault(case.path, item.classes[0]) == item.classes[0], case
        if (number + 1) % step == 0:
            sizes.append(resident_bytes())
    return sizes


def check_command(run: Path, cases: list[Case]) -> str:
    """Call ``tlkit predict`` on each bad file alone, and on all files at once."""
    import json

    bad = [case for case in cases if case.error is not None]
    for chosen in (*([case] for case in bad[:6]), cases):
        paths = [str(case.path) for case in chosen]
        done = subprocess.run(
            [sys.executable, "-m", "tlkit", "predict", str(run), "--json", "--", *paths],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 1, (done.returncode, done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        found = json.loads(done.stdout)["predictions"]
        for case, item in zip(chosen, found, strict=True):
            assert (item["error"] is None) == (case.error is None), (case, item)
            assert (case.error or "") in (item["error"] or ""), (case, item)
    return f"{min(6, len(bad)) + 1} calls of tlkit predict: right"


def draw(path: Path, sizes: list[int], title: str, steps: str) -> None:
    """Draw the memory after each step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(range(1, len(sizes) + 1), [size / MEBIBYTE for size in sizes], marker=".", lw=1)
    axes.set(
        xlabel=steps,
        ylabel="resident memory (MiB)",
        title=title,
        ylim=(0, 1.1 * max(sizes) / MEBIBYTE),
    )
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=90)


def save(folder: Path, name: str, sizes: list[int], title: str, steps: str) -> None:
    """Write the curve as CSV and PNG, and say what it says."""
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow((steps, "resident_bytes"))
        rows.writerows(enumerate(sizes, 1))
    draw(folder / f"{name}.png", sizes, title, steps)
    print(
        f"{name}: {sizes[0] / MEBIBYTE:.0f} MiB after the first, {sizes[-1] / MEBIBYTE:.0f} after "
        f"the last; {growth(sizes) / MEBIBYTE:+.2f} MiB a step in the second half",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--predictions", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("soak"), help="Folder of the curves.")
    parser.add_argument("--set", action="append", default=[], help="TABLE.KEY=VALUE of the runs.")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)

        def say(number: int, size: int, seconds: float) -> None:
            print(f"run {number}: {size / MEBIBYTE:.1f} MiB, {seconds:.1f} s", flush=True)

        sizes = soak_runs(arguments.runs, folder, arguments.set, say)
        save(arguments.out, "runs", sizes, "Runs in one process", "run")
        if arguments.predictions:
            run = next((folder / "runs").iterdir())
            cases = make_cases(folder / "files")
            print(check_command(run, cases), flush=True)
            step = max(1, arguments.predictions // 50)
            sizes = soak_predictions(arguments.predictions, run, cases, step)
            title = "Calls of predict() in one process"
            save(arguments.out, "predictions", sizes, title, f"{step} calls")


if __name__ == "__main__":
    main()
