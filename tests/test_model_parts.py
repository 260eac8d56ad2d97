import keras
import pytest

from tests.tiny import TinyBackbone
from tlkit.builtin.heads.linear import Linear
from tlkit.model import assemble, with_temperature
from tlkit.model_parts import find_parts, inner_layers
from tlkit.test_time_augmentation import TestTimeAugmentation


def test_the_parts_of_a_model_with_views_and_a_temperature():
    views = TestTimeAugmentation(mirror=True, scales=(0.8,)).views
    model = assemble(TinyBackbone(), Linear(), 3, views=views)
    parts = find_parts(with_temperature(model, 2.0))
    assert parts.number_of_views == 4
    assert parts.temperature == 2
    assert parts.looks.shape[1:] == (16, 16, 3)
    assert parts.backbone is model.backbone
    assert parts.head is model.head
    plain = find_parts(assemble(TinyBackbone(), Linear(), 3).model)
    assert (plain.number_of_views, plain.temperature) == (1, 1)


@pytest.mark.parametrize(
    ("layers", "problem"),
    [
        ([keras.layers.Flatten()], "it does not end in a softmax"),
        ([keras.layers.Flatten(), keras.layers.Softmax()], "no nested backbone and head"),
    ],
)
def test_other_models_are_told_by_what_they_lack(layers, problem):
    model = keras.Sequential([keras.Input((4, 4, 3)), *layers])
    with pytest.raises(ValueError, match=problem):
        find_parts(model)


def test_inner_layers_are_the_bottlenecks_of_each_size():
    network = keras.applications.MobileNetV2((96, 96, 3), include_top=False, weights=None)
    assert inner_layers(network) == (
        "expanded_conv_project_BN", "block_2_add", "block_5_add", "block_9_add", "block_15_add"
    )  # fmt: skip
    assert inner_layers(network, 50) == ("expanded_conv_project_BN", "block_2_add")
    assert inner_layers(network, 1) == ("expanded_conv_project_BN",)
    assert inner_layers(TinyBackbone().build()) == ("relu_1", "relu_2")


def test_a_network_that_hides_its_inside_has_none():
    class Hidden(keras.Model):
        def call(self, images):
            return images

    assert inner_layers(Hidden()) == ()
