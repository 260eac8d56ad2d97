"""Formats: what ``--to`` may name."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from tlkit.errors import ConfigError, did_you_mean
from tlkit.export.format import Format

# By name, in the order of the documentation; a module is loaded when its format is asked for.
_CLASSES = {
    "keras": ("keras_format", "Keras"),
    "h5": ("keras_format", "H5"),
    "savedmodel": ("savedmodel_format", "SavedModel"),
    "onnx": ("onnx_format", "Onnx"),
    "litert": ("litert_format", "LiteRT"),
    "openvino": ("openvino_format", "OpenVino"),
}
FORMATS = tuple(_CLASSES)


def format_of(name: str) -> Format:
    """Return the format of a name.

    Raises:
        ConfigError: If there is none of that name.
    """
    if name not in _CLASSES:
        raise ConfigError(
            f"Unknown format '{name}'.{did_you_mean(name, FORMATS)}\n"
            f"Available: {', '.join(FORMATS)}."
        )
    module, kind = _CLASSES[name]
    return cast(Format, getattr(import_module(f"tlkit.export.{module}"), kind)())
