"""Metadata: what a file says of itself, so that whoever uses it needs no tlkit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tlkit import __version__
from tlkit.records import RunResult
from tlkit.run_folder import config_text

# Under this key it lies in the files.
KEY = "tlkit"
FILE = "tlkit.json"


def metadata_of(
    run: RunResult, model: Any, precision: str, input_size: tuple[int, int] | None
) -> dict[str, Any]:
    """Return what a file of an exported model says of itself, as plain JSON values.

    Args:
        run: The run that the model is of.
        model: Its Keras model.
        precision: ``"float32"``, ``"float16"`` or ``"int8"``.
        input_size: Height and width of all pictures; None for pictures of any size.
    """
    info, calibration = run.info, run.test.calibration
    applied = calibration is not None and calibration.applied
    height, width = input_size or (None, None)
    return {
        "class_names": list(info.class_names),
        "input": {
            "name": "pixels",
            "shape": [None, height, width, 3],
            "dtype": "uint8",
            "range": [0, 255],
            "colours": "RGB",
            "layout": "NHWC",
        },
        "output": {
            "name": "probabilities",
            "shape": [None, len(info.class_names)],
            "dtype": "float32",
        },
        "preprocessing": {
            "inside_the_file": True,
            "resize": _resize_of(model),
            "backbone": "as its weights were trained; see run.backbone",
        },
        "precision": precision,
        "run": {
            "name": info.name,
            "began": info.began,
            "dataset": _name(info.config, "dataset"),
            "backbone": _plain(info.config.get("backbone")),
            "head": _name(info.config, "head"),
            "config_sha256": hashlib.sha256(config_text(info.config).encode()).hexdigest(),
            "test_accuracy": run.test.accuracy,
            "test_images": len(run.test.labels),
            "temperature": calibration.temperature if calibration and applied else None,
        },
        "made_with": f"tlkit {__version__}",
    }


def as_text(metadata: Mapping[str, Any]) -> str:
    """Return metadata as JSON in ASCII, which no format and no encoding changes."""
    return json.dumps(metadata, ensure_ascii=True, allow_nan=False)


def _resize_of(model: Any) -> dict[str, Any]:
    from tlkit.model import RESIZE_LAYER

    layer = model.get_layer(RESIZE_LAYER)
    return {
        "height": layer.height,
        "width": layer.width,
        "interpolation": layer.interpolation,
        "antialias": layer.antialias,
    }


def _name(config: Mapping[str, Any], kind: str) -> str:
    table = config.get(kind)
    return str(table.get("name", "")) if isinstance(table, Mapping) else ""


def _plain(table: Any) -> dict[str, Any]:
    """Return a plugin's table without paths, which say where a file lay and nothing else."""
    if not isinstance(table, Mapping):
        return {}
    return {
        str(key): value
        for key, value in table.items()
        if isinstance(value, bool | int | float | str) and not _is_path(value)
    }


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and ("/" in value or "\\" in value)
