"""Words of the report: text from outside made safe, durations and sizes."""

from __future__ import annotations

from pathlib import Path

from tlkit.records import RunInfo
from tlkit.run_folder import MODEL
from tlkit.text import printable
from tlkit.wording import clock

TEXT_LIMIT, LONG_TEXT_LIMIT = 80, 2000


def text(value: object, limit: int = TEXT_LIMIT) -> str:
    """Return text from outside without control characters, cut to a limit."""
    return printable(str(value), limit)


def held_out(info: RunInfo) -> str:
    """Return what the images are that were validated on."""
    return "test set as validation" if info.validates_on_test else "validation"


def duration(seconds: float) -> str:
    """Return seconds as a person would say them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{clock(seconds)} {'h' if seconds >= 3600 else 'min'}"


def size_text(count: int) -> str:
    """Return a number of bytes in kB or MB."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def model_bytes(folder: Path | None) -> int | None:
    """Return the size of the saved model; None if there is none."""
    for name in (MODEL, "model.h5"):
        if folder is not None and (folder / name).is_file():
            return (folder / name).stat().st_size
    return None


def name_limit(num_classes: int) -> int:
    """Return how long class names may be: shorter where there are very many."""
    return 60 if num_classes <= 1000 else 24
