"""Format: how a model is written in one file format, and run from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tlkit.errors import ExportError
from tlkit.records import Float32Array

if TYPE_CHECKING:
    from tlkit.export.tracing import Graph

Precision = Literal["float32", "float16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "int8")
Classify = Callable[[Any], Float32Array]


@dataclass(frozen=True)
class Source:
    """What is exported.

    Attributes:
        model: The run's Keras model, RGB pixels 0 to 255 to probabilities.
        input_size: Height and width of all pictures; None for pictures of any size.
        pictures: The pictures that 8-bit ranges are fitted on, each uint8 (height, width, 3).
    """

    model: Any
    input_size: tuple[int, int] | None = None
    pictures: Sequence[Any] = ()

    @cached_property
    def graph(self) -> Graph:
        """The model as one TensorFlow graph."""
        from tlkit.export.tracing import trace

        return trace(self.model, self.input_size)


class Format(ABC):
    """Writes models in one format, and runs them from it.

    Attributes:
        name: What ``--to`` calls it.
        suffix: Of its files; empty where it is a folder, which has the format's name.
        precisions: What its weights can be.
        modules: The modules that writing needs beyond tlkit's own.
        install: What to give to ``pip install`` for them.
        runtime: The distribution that runs its files.
        fixes_size: Whether it can be told the one size of all pictures.
    """

    name: ClassVar[str]
    suffix: ClassVar[str] = ""
    precisions: ClassVar[tuple[Precision, ...]] = ("float32",)
    modules: ClassVar[tuple[str, ...]] = ()
    install: ClassVar[str] = ""
    runtime: ClassVar[str]
    fixes_size: ClassVar[bool] = True

    @abstractmethod
    def write(self, source: Source, path: Path, precision: Precision, metadata: str) -> None:
        """Write a model.

        Args:
            source: What to write.
            path: The file; for a format that is a folder, a folder that is empty.
            precision: One of ``precisions``.
            metadata: What the file says of itself, as JSON in ASCII.

        Raises:
            ExportError: If the model cannot be written in this format.
            OSError: If the file cannot be written.
        """

    @abstractmethod
    def open(self, path: Path) -> Classify:
        """Open a written file with the format's own runtime, on the CPU.

        Only what the file's users would import is imported.

        Args:
            path: What ``write()`` wrote.

        Returns:
            A function from pixels, uint8 (N, height, width, 3), to float32 probabilities (N,
            number of classes).
        """

    @abstractmethod
    def metadata(self, path: Path) -> str:
        """Return what a written file says of itself, as it was given to ``write()``."""

    def file_name(self, precision: Precision) -> str:
        """Return what a file of this format is called."""
        mark = "" if precision == "float32" else f"-{precision}"
        return f"model{mark}{self.suffix}" if self.suffix else f"{self.name}{mark}"

    def check(self, precision: Precision, input_size: tuple[int, int] | None) -> None:
        """Check what is asked for before any work.

        Raises:
            ExportError: If this format does not have it, or what it needs is not installed.
        """
        if precision not in self.precisions:
            raise ExportError(
                f"The format '{self.name}' has no {precision}; allowed: "
                f"{', '.join(self.precisions)}."
            )
        if input_size is not None and not self.fixes_size:
            raise ExportError(
                f"The format '{self.name}' takes pictures of any size: leave --input-size out."
            )
        missing = [name for name in self.modules if find_spec(name) is None]
        if missing:
            raise ExportError(
                f"The format '{self.name}' needs {', '.join(missing)}, not installed. "
                f"pip install {self.install}"
            )

    def runtime_version(self) -> str:
        """Return what runs its files, such as ``onnxruntime 1.32.0``."""
        try:
            return f"{self.runtime} {version(self.runtime)}"
        except PackageNotFoundError:
            return self.runtime
