import sys

import keras
import numpy as np
import pytest

from tests.tiny import TinyBackbone, make_tiny_trainer
from tlkit import PluginError, RunFolderError, load_model, registry
from tlkit.own_layers import layers_out_of_reach

LAYERS = """
import keras


@keras.saving.register_keras_serializable("own_layers")
class Scale(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs
"""
BACKBONE = """
from tlkit import Backbone


class Scaled(Backbone):
    name = "scaled_by_own_layer"
    modules = ("_layers_of_scaled",)

    def __init__(self, image_size: int = 16):
        super().__init__(image_size, weights="random")

    def build(self):
        import keras
        from _layers_of_scaled import Scale

        convolution = keras.layers.Conv2D(4, 3, 2)
        return keras.Sequential([keras.Input((16, 16, 3)), convolution, Scale()])
"""


def model_of(layer):
    return keras.Sequential([keras.Input((4, 4, 3)), layer])


def test_layers_of_keras_are_found_everywhere():
    assert layers_out_of_reach(model_of(keras.layers.Conv2D(2, 3)), [TinyBackbone()]) == ""


def test_a_layer_that_is_not_registered_is_an_error():
    class Unknown(keras.layers.Layer):
        pass

    for layer in (Unknown(), keras.layers.Lambda(lambda maps: maps)):
        with pytest.raises(PluginError, match=r"not be loaded again: it names .*register_keras"):
            layers_out_of_reach(model_of(layer), [TinyBackbone()])


def test_a_layer_made_within_a_function_is_out_of_reach():
    @keras.saving.register_keras_serializable("own_layers")
    class Local(keras.layers.Layer):
        pass

    told = layers_out_of_reach(model_of(Local()), [TinyBackbone()])
    assert "will not find tests.test_own_layers.test_a_layer_made_within_a_function" in told
    assert 'modules = ("my_package.layers",)' in told


@keras.saving.register_keras_serializable("own_layers")
class OfThisModule(keras.layers.Layer):
    """At the top level, where others find it if a plugin names this module."""


@pytest.mark.parametrize(
    ("modules", "found"),
    [((__name__,), True), (("tests",), True), (("tests.test_own",), False), ((), False)],
)
def test_a_layer_is_found_in_the_modules_that_a_plugin_names(modules, found, monkeypatch):
    monkeypatch.setattr(TinyBackbone, "modules", modules)
    assert (layers_out_of_reach(model_of(OfThisModule()), [TinyBackbone()]) == "") is found


def test_a_run_imports_the_modules_that_its_backbone_names(tmp_path, monkeypatch):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "_layers_of_scaled.py").write_text(LAYERS)
    (tmp_path / "plugins" / "scaled_backbone.py").write_text(BACKBONE)
    monkeypatch.setenv("TLKIT_PLUGIN_FOLDER", str(tmp_path / "plugins"))
    monkeypatch.setattr(registry, "entry_points", lambda group: [])
    monkeypatch.setattr(sys, "path", [*sys.path])
    result = make_tiny_trainer(
        tmp_path, backbone="scaled_by_own_layer", registry=registry.Registry()
    ).run()
    assert not [text for text in result.warnings if "will not find" in text]

    # As in a process that has not trained.
    monkeypatch.delitem(sys.modules, "_layers_of_scaled")
    monkeypatch.delitem(keras.saving.get_custom_objects(), "own_layers>Scale")

    pixels = np.zeros((1, 16, 16, 3), np.uint8)
    monkeypatch.delenv("TLKIT_PLUGIN_FOLDER")
    with pytest.raises(
        RunFolderError, match=r"(?s)_layers_of_scaled.Scale, .*'scaled_by_own_layer' is"
    ):
        load_model(result.folder)
    monkeypatch.setenv("TLKIT_PLUGIN_FOLDER", str(tmp_path / "plugins"))
    found = load_model(result.folder).predict(pixels, verbose=0)
    assert np.allclose(found, result.model.predict(pixels, verbose=0))
