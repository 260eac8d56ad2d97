import sys

import keras
import numpy as np
import pytest

from tests.tiny import TinyBackbone, make_tiny_trainer
from tlkit import PluginError, RunFolderError, load_model, registry
from tlkit.own_layers import check_own_layers, forgotten_arguments
from tlkit.run_session import import_modules

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
    pixels = keras.Input((None, None, 3))
    maps = keras.layers.Rescaling(1 / 255)(pixels)
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(layer(maps)))


class Passing(keras.layers.Layer):
    def call(self, inputs):
        return inputs


@keras.saving.register_keras_serializable("own_layers")
class Forgetful(keras.layers.Layer):
    """A layer whose config lacks its arguments."""

    def __init__(self, units=4, power=1.0, **kwargs):
        super().__init__(**kwargs)
        self.power = power
        self.dense = keras.layers.Dense(units)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, inputs):
        return self.dense(inputs) ** self.power

    def get_config(self):
        return super().get_config()


@pytest.mark.parametrize("options", [{"units": 3}, {"power": 2.0}])
def test_a_layer_that_is_another_one_when_it_is_loaded_is_an_error(options):
    with pytest.raises(PluginError, match=r"Does get_config\(\) of Forgetful name every argument"):
        check_own_layers(model_of(Forgetful(**options)), [TinyBackbone()])
    check_own_layers(model_of(Forgetful()), [TinyBackbone()])


def test_arguments_that_a_config_lacks_are_named():
    assert forgotten_arguments(model_of(keras.layers.Dense(3))) == ""
    assert forgotten_arguments(model_of(Passing())) == ""
    inner = keras.Sequential([keras.Input((4, 4, 3)), Forgetful()])
    for model in (model_of(Forgetful()), keras.Sequential([inner])):
        assert "of Forgetful lacks power, units, so that" in forgotten_arguments(model)


def test_layers_of_keras_are_found_everywhere():
    assert check_own_layers(model_of(keras.layers.Conv2D(2, 3)), [TinyBackbone()]) == ""


def test_a_layer_that_is_not_registered_is_an_error():
    class Unknown(Passing):
        pass

    for layer in (Unknown(), keras.layers.Lambda(lambda maps: maps)):
        with pytest.raises(PluginError, match=r"not be loaded again: it names .*register_keras"):
            check_own_layers(model_of(layer), [TinyBackbone()])


def test_a_layer_made_within_a_function_is_out_of_reach():
    @keras.saving.register_keras_serializable("own_layers")
    class Local(Passing):
        pass

    told = check_own_layers(model_of(Local()), [TinyBackbone()])
    assert "will not find tests.test_own_layers.test_a_layer_made_within_a_function" in told
    assert 'modules = ("my_package.layers",)' in told


@keras.saving.register_keras_serializable("own_layers")
class OfThisModule(Passing):
    """At the top level, where others find it if a plugin names this module."""


@pytest.mark.parametrize(
    ("modules", "found"),
    [((__name__,), True), (("tests",), True), (("tests.test_own",), False), ((), False)],
)
def test_a_layer_is_found_in_the_modules_that_a_plugin_names(modules, found, monkeypatch):
    monkeypatch.setattr(TinyBackbone, "modules", modules)
    assert (check_own_layers(model_of(OfThisModule()), [TinyBackbone()]) == "") is found


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


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ("tests.tiny", r"has modules = 'tests.tiny'; allowed: a tuple, such as \('tests.tiny',\)"),
        (("tests.misspelt",), r"needs tests.misspelt, .*\. Correct its name in the plugin's"),
        (
            ("no_such_package",),
            r"needs no_such_package, .*\. Install it, or leave the backbone out",
        ),
    ],
)
def test_modules_that_cannot_be_imported_are_told_with_the_cure(modules, message, monkeypatch):
    monkeypatch.setattr(TinyBackbone, "modules", modules)
    with pytest.raises(PluginError, match=message):
        import_modules([TinyBackbone()])
