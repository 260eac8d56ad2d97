"""The jobs that are measured, each the plain Keras way and the tlkit way."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

UNITS = (32, 64, 128, 256, 512)


@dataclass(frozen=True)
class Variant:
    """One tlkit way of a case.

    Attributes:
        name: Such as ``"cold"``.
        runs: The arguments of each ``tlkit run``, one run after another over one feature cache.
        cache_of: The variant whose filled cache is used; None for a cache that starts empty.
        goal: How many times as fast as plain Keras it should be.
        needs: A module without which the variant is left out.
    """

    name: str
    runs: tuple[tuple[str, ...], ...]
    cache_of: str | None = None
    goal: float | None = None
    needs: str | None = None

    def missing(self) -> str | None:
        """Return why the variant cannot be measured here; None if it can."""
        if self.needs is None or find_spec(self.needs) is not None:
            return None
        return f"the package {self.needs} is not installed"


@dataclass(frozen=True)
class Case:
    """One job.

    Attributes:
        name: What it is called on the command line.
        title: What the job is, in one line.
        plain: The arguments of ``plain_keras.py``, without data and output.
        variants: The tlkit ways of the same job, in the order in which they are measured.
    """

    name: str
    title: str
    plain: tuple[str, ...]
    variants: tuple[Variant, ...]


@dataclass(frozen=True)
class StartUp:
    """Commands that must answer at once, without TensorFlow.

    Attributes:
        name: What it is called on the command line.
        title: What is measured, in one line.
        commands: The arguments of ``tlkit``.
        limit: The most seconds that one may take.
        no_tensorflow: The arguments of the command whose imports are looked through.
        repeats: How often each is measured at least; they are short, and so is one's chance.
    """

    name: str
    title: str
    commands: tuple[tuple[str, ...], ...]
    limit: float
    no_tensorflow: tuple[str, ...]
    repeats: int = 5


def _settings(*assignments: str) -> tuple[str, ...]:
    return tuple(part for item in assignments for part in ("--set", item))


_EXERCISE = ("--image-size", "32", "--epochs", "5", "--batch-size", "32", "--units")
_PIXELS = (
    "cifar10",
    *_settings(
        "run.validation=test",
        'run.save=["keras","h5"]',
        "backbone.image_size=96",
        "head.name=dense",
        "head.units=128",
        "head.dropout=0.3",
        "workflow.epochs=5",
        "workflow.batch_size=32",
    ),
)
_ON_TENSORFLOW = _PIXELS + _settings("engine.name=tensorflow")
_ON_OPENVINO = _PIXELS + _settings("engine.name=openvino")

_ALL = (
    Case(
        name="classic",
        title="The original exercise: 32 x 32 pixels, 5 epochs",
        plain=(*_EXERCISE, "128"),
        variants=(
            Variant("cold", (("classic",),), goal=12),
            Variant("warm", (("classic",),), cache_of="cold", goal=50),
        ),
    ),
    Case(
        name="pixels-96",
        title="Images enlarged to 96 x 96 pixels, 5 epochs",
        plain=("--image-size", "96", "--epochs", "5", "--batch-size", "32", "--units", "128"),
        variants=(
            Variant("cold, tensorflow", (_ON_TENSORFLOW,), goal=5),
            Variant("cold, openvino", (_ON_OPENVINO,), goal=10, needs="openvino"),
            Variant("warm", (_ON_TENSORFLOW,), cache_of="cold, tensorflow"),
        ),
    ),
    Case(
        name="five-heads",
        title=f"The original exercise with {len(UNITS)} widths of the head, one after another",
        plain=(*_EXERCISE, *map(str, UNITS)),
        variants=(
            Variant(
                "cold",
                tuple(("classic", *_settings(f"head.units={units}")) for units in UNITS),
                goal=30,
            ),
        ),
    ),
)

CASES: dict[str, Case] = {case.name: case for case in _ALL}
START_UP = StartUp(
    name="start-up",
    title="Commands that only list things",
    commands=(("--help",), ("plugins",)),
    limit=0.4,
    no_tensorflow=("plugins",),
)
NAMES: tuple[str, ...] = (*CASES, START_UP.name)
