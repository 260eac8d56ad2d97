"""Engine: what runs the frozen part of a model over images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from tlkit.plugin import Plugin
from tlkit.records import Float32Array

if TYPE_CHECKING:
    import keras

Forward = Callable[[Any], Float32Array]


class Engine(Plugin, ABC):
    """Compiles a frozen Keras model for inference.

    A subclass sets ``name`` and writes ``compile()``. Resizing is not its business: it receives
    images of the backbone's size, so that every engine sees the same pixels. Before its features
    are used they are compared with TensorFlow's on images of the data set at hand.

    Attributes:
        module: The Python module that it needs, such as ``"openvino"``.
        distribution: The distribution that brings it.
        precision: ``"float32"``, or what it computes in instead. Features of another precision
            are stored apart, and are never chosen by ``"auto"``.
    """

    kind: ClassVar[str] = "engine"
    module: ClassVar[str] = ""
    distribution: ClassVar[str] = ""
    precision: str = "float32"

    @abstractmethod
    def compile(self, model: keras.Model) -> Forward:
        """Prepare a model.

        Args:
            model: From pixels (N, size, size, 3), 0 to 255, to features (N, ...), both float32.
                Run it in inference mode.

        Returns:
            A function from pixels, a uint8 or float32 array (N, size, size, 3) with any N of 1 or
            more, to float32 features (N, ...). It is called from several threads at once and must
            not change its input.

        Raises:
            EngineError: If the model cannot be prepared.
        """

    @classmethod
    def is_installed(cls) -> bool:
        """Return whether the module that it needs can be imported."""
        try:
            return not cls.module or find_spec(cls.module) is not None
        except (ImportError, ValueError):  # its parent package is missing, or broken
            return False

    @classmethod
    def version(cls) -> str:
        """Return the version of what it runs on; empty where that is unknown."""
        try:
            return version_of(cls.distribution or cls.module)
        except (PackageNotFoundError, ValueError):
            return ""
