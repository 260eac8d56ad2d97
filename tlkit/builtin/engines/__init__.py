"""The built-in engines."""

from __future__ import annotations

from collections.abc import Callable

from tlkit import Engine, hookimpl
from tlkit.builtin.engines.openvino import OpenVINO
from tlkit.builtin.engines.tensorflow import TensorFlow


@hookimpl
def register_engines(register: Callable[[type[Engine]], None]) -> None:
    """Register the built-in engines."""
    for engine in (TensorFlow, OpenVINO):
        register(engine)
