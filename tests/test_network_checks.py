import keras
import pytest

from tests.tiny import TinyBackbone
from tlkit import Head, PluginError
from tlkit.builtin.heads.linear import Linear
from tlkit.model import assemble


def test_a_backbone_with_its_top_on_is_refused():
    class Topped(TinyBackbone):
        def build(self):
            network = super().build()
            return keras.Model(network.input, keras.layers.GlobalAveragePooling2D()(network.output))

    with pytest.raises(PluginError, match="Leave its top off"):
        assemble(Topped(), Linear(), 3)


def test_a_head_with_the_wrong_number_of_classes_is_refused():
    class Wrong(Head):
        name = "wrong"

        def build(self, feature_shape, num_classes):
            return keras.Sequential([keras.Input(feature_shape), keras.layers.Dense(7)])

    with pytest.raises(PluginError, match=r"\(N, 3\)"):
        assemble(TinyBackbone(), Wrong(), 3)
