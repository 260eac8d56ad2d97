"""Saving a model, loading it as a run's model is loaded, and comparing the answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tlkit.errors import PluginError
from tlkit.model_file import load_model_file
from tlkit.own_layers import forgotten_arguments, layers_out_of_reach, own_layers
from tlkit.plugin import Plugin
from tlkit.run_session import import_modules
from tlkit.testing.suite import CheckFailed, expect


def saved_and_loaded(
    model: Any, inputs: Any, folder: Path, tolerance: float, plugin: Plugin
) -> None:
    """Save a model and load it; fail the check if it cannot be, or answers otherwise.

    Args:
        model: A ``keras.Model``.
        inputs: What to give to both.
        folder: Where to save it.
        tolerance: Largest difference of an answer, divided by the largest answer.
        plugin: What made it. Other processes must find the layers that it brings.
    """
    import keras

    path = folder / "model.keras"
    try:
        model.save(path)
    except Exception as err:
        raise CheckFailed(f"Keras cannot save it: {type(err).__name__}: {err}") from err
    try:
        loaded = load_model_file(path)
    except Exception as err:
        raise CheckFailed(
            f"The saved model cannot be loaded: {err} Layers of your own need "
            f"@keras.saving.register_keras_serializable() and a get_config() that names every "
            f"argument of their constructor."
        ) from err
    try:
        import_modules([plugin])
    except PluginError as err:
        raise CheckFailed(str(err)) from err
    far = layers_out_of_reach(own_layers(model), [plugin])
    expect(not far, far)
    forgotten = forgotten_arguments(model)
    expect(not forgotten, forgotten)
    expected, found = (
        np.asarray(keras.ops.convert_to_numpy(item(inputs, training=False)))
        for item in (model, loaded)
    )
    error = float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30))
    expect(
        found.shape == expected.shape and error <= tolerance,
        f"The loaded model answers otherwise: relative error {error:.2g}, allowed {tolerance:g}. "
        f"Does get_config() of each layer name every argument of its constructor?",
    )
