"""The Keras model as an MLflow model: its signature, and the packages that it needs."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from typing import Any

from tlkit import RunResult


def log_model(result: RunResult, model: Any, registered_model_name: str | None) -> None:
    """Log the model into the active run.

    Pixels go in, uint8 (N, height, width, 3), 0 to 255; probabilities come out, float32 (N, number
    of classes).

    Args:
        result: The finished run.
        model: Its ``keras.Model``.
        registered_model_name: The name to register it under; None not to.
    """
    import mlflow.keras
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    count = len(result.info.class_names)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, count))]),
    )
    mlflow.keras.log_model(
        model,
        name="model",
        signature=signature,
        # Else MLflow finds them out by loading the model in another process, which takes long.
        pip_requirements=requirements(model),
        metadata={"class_names": list(result.info.class_names)},
        registered_model_name=registered_model_name,
    )


def requirements(model: Any) -> list[str]:
    """Return what must be installed to load the model: ``name==version`` each."""
    names = {"keras", "tensorflow", "numpy"}
    distributions = importlib.metadata.packages_distributions()
    for layer in _layers(model):
        names.update(distributions.get(type(layer).__module__.split(".")[0], ()))
    found = []
    for name in sorted(names):
        try:
            found.append(f"{name}=={importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue  # another build of it, such as tensorflow-cpu, which its own name covers
    return found


def _layers(model: Any) -> Iterator[Any]:
    yield model
    yield from model._flatten_layers(include_self=False, recursive=True)
