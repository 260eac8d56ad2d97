"""Finding presets, and what is said when their files are not there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras_hub
import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny_networks import make
from tlkit_kerashub.__main__ import main
from tlkit_kerashub.backbone import KerasHub
from tlkit_kerashub.families import FAMILIES, REFUSED
from tlkit_kerashub.presets import list_presets, read_preset

from tlkit import WeightsError

VIT = "vit_base_patch16_224_imagenet"


@pytest.fixture
def no_connection(monkeypatch):
    """Make kagglehub fail at once, as it does without internet."""
    import kagglehub
    import requests

    def refuse(handle, path=None):
        raise requests.exceptions.ConnectionError("Failed to resolve 'api.kaggle.com'")

    monkeypatch.setattr(kagglehub, "model_download", refuse)


def write_preset(folder):
    folder.mkdir(parents=True)
    make("ViTBackbone").save_to_preset(folder)
    converter = keras_hub.layers.ViTImageConverter(
        image_size=(32, 32), scale=1 / 127.5, offset=-1.0
    )
    converter.save_to_preset(folder)
    return folder


def test_every_built_in_preset_of_every_family_is_asked_for_by_name(no_connection):
    listed = list_presets()
    assert {item.family for item in listed} == set(FAMILIES)
    assert len({item.name for item in listed}) == len(listed) >= 100
    names = {item.name for item in listed}
    assert {VIT, "dinov2_base", "siglip_base_patch16_224", "resnet_50_imagenet"} <= names
    for item in listed:
        assert item.parameters > 100_000
        assert item.folder is None
        with pytest.raises(WeightsError, match=f"(?s)preset '{item.name}'.*{item.handle}"):
            read_preset(item.name)


def test_a_name_without_its_files_says_how_to_bring_them(no_connection, monkeypatch, tmp_path):
    with pytest.raises(WeightsError) as caught:
        KerasHub(preset=VIT).build()
    text = str(caught.value)
    assert "api.kaggle.com" in text
    assert f"kagglehub.model_download('keras/vit/keras/{VIT}" in text
    assert f"KAGGLEHUB_CACHE (now {tmp_path / 'kagglehub'})" in text
    assert "set [backbone] preset to its path" in text


def test_a_hugging_face_handle_without_its_files_says_how_to_bring_them():
    with pytest.raises(WeightsError) as caught:
        KerasHub(preset="hf://timm/resnet18.a1_in1k").build()
    text = str(caught.value)
    assert "hf download timm/resnet18.a1_in1k --local-dir FOLDER" in text
    assert "HF_HOME" in text
    assert "HF_HUB_OFFLINE=1" in text


def test_a_name_that_was_fetched_as_a_whole_is_found_without_internet(no_connection):
    handle = keras_hub.models.Backbone.presets[VIT]["kaggle_handle"].removeprefix("kaggle://")
    folder = Path(os.environ["KAGGLEHUB_CACHE"]) / "models" / handle
    write_preset(folder)
    with pytest.raises(WeightsError, match="Failed to resolve"):
        read_preset(VIT)  # nothing says that the folder is whole
    folder.with_name(f"{folder.name}.complete").touch()
    assert read_preset(VIT).image_size == 32
    assert KerasHub(preset=VIT).build().output_shape == (None, 1, 1, 8)
    assert [item.name for item in list_presets() if item.folder] == [VIT]


def test_single_files_that_kerashub_fetched_are_found_without_internet():
    handle = keras_hub.models.Backbone.presets[VIT]["kaggle_handle"].removeprefix("kaggle://")
    folder = Path(os.environ["KAGGLEHUB_CACHE"]) / "models" / handle
    write_preset(folder)
    markers = folder.parent / ".complete" / folder.name
    markers.mkdir(parents=True)
    for file in ("config.json", "image_converter.json", "model.weights.h5"):
        (markers / f"{file}.complete").touch()
    assert KerasHub(preset=VIT).build().output_shape == (None, 1, 1, 8)
    assert [item.name for item in list_presets() if item.folder] == [VIT]


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("vit_base_patch16_224_imagnet", f"Did you mean '{VIT}'"),
        ("/no/such/folder", "Allowed: a name, 'hf://...', 'kaggle://...', or the path of a folder"),
        ("kaggle://nonsense", "Unexpected Kaggle preset"),
    ],
)
def test_what_is_no_preset_is_named(preset, message):
    with pytest.raises(WeightsError, match=message):
        KerasHub(preset=preset).build()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"architecture": "convnext_tiny"}', "no converter for timm models"),
        ('{"model_type": "siglip"}', "no converter for huggingface"),
        ('{"model_type": "bert"}', "BertBackbone: it is no image backbone"),
        ('{"model_type": "paligemma"}', "PaliGemmaBackbone: a language model that reads images"),
        (None, "has no config.json"),
    ],
)
def test_folders_that_cannot_be_used_are_refused_with_the_reason(config, message, tmp_path):
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(WeightsError, match=message):
        KerasHub(preset=str(tmp_path)).build()


def test_random_weights_need_config_json_alone(tmp_path):
    folder = write_preset(tmp_path / "vit")
    (folder / "model.weights.h5").unlink()
    with pytest.raises(WeightsError, match=r"model\.weights"):
        KerasHub(preset=str(folder)).build()
    (folder / "image_converter.json").unlink()
    with pytest.raises(WeightsError, match=r"Put an image_converter\.json beside"):
        KerasHub(preset=str(folder)).build()
    backbone = KerasHub(preset=str(folder), weights="random")
    assert backbone.build().output_shape == (None, 1, 1, 8)
    found = np.asarray(backbone.preprocess(np.array([[[[0, 127.5, 255]]]], "float32")))
    np.testing.assert_allclose(found.ravel(), [-1, 0, 1], atol=1e-6)


def write_timm_resnet18(folder):
    generator = np.random.default_rng(0)
    state = {}

    def conv(name, outputs, inputs, size):
        shape = (outputs, inputs, size, size)
        state[f"{name}.weight"] = generator.normal(0, 0.05, shape).astype("float32")

    def norm(name, width):
        for key in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{key}"] = generator.uniform(0.5, 1, width).astype("float32")

    conv("conv1", 64, 3, 7)
    norm("bn1", 64)
    inputs = 64
    for stage, width in enumerate((64, 128, 256, 512), 1):
        for block in (0, 1):
            name = f"layer{stage}.{block}"
            conv(f"{name}.conv1", width, inputs, 3)
            norm(f"{name}.bn1", width)
            conv(f"{name}.conv2", width, width, 3)
            norm(f"{name}.bn2", width)
            if inputs != width:
                conv(f"{name}.downsample.0", width, inputs, 1)
                norm(f"{name}.downsample.1", width)
            inputs = width
    save_file(state, folder / "model.safetensors")
    config = {
        "architecture": "resnet18",
        "num_classes": 1000,
        "pretrained_cfg": {
            "input_size": [3, 224, 224],
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "interpolation": "bicubic",
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    return state


def test_a_timm_model_in_a_folder(tmp_path):
    state = write_timm_resnet18(tmp_path)
    backbone = KerasHub(preset=str(tmp_path), image_size=64)
    assert read_preset(str(tmp_path)).image_size == 224
    network = backbone.build()
    assert network.output_shape == (None, 2, 2, 512)
    assert backbone.interpolation == "bicubic"
    first = next(item for item in network.weights if len(item.shape) == 4)
    np.testing.assert_array_equal(first, state["conv1.weight"].transpose(2, 3, 1, 0))
    middle = np.asarray(backbone.preprocess(np.full((1, 1, 1, 3), 255, "float32"))).ravel()
    np.testing.assert_allclose(
        middle, (1 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225], atol=1e-5
    )
    blocks = backbone.blocks(network)
    assert len(blocks) == 9  # the stem and eight residual blocks


def test_a_transformers_vit_in_a_folder_with_random_weights(tmp_path):
    config = {
        "model_type": "vit",
        "architectures": ["ViTModel"],
        "image_size": 48,
        "patch_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_size": 8,
        "intermediate_size": 16,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "qkv_bias": True,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    preprocessor = {
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "rescale_factor": 1 / 255,
        "do_rescale": True,
        "do_normalize": True,
        "size": {"height": 48, "width": 48},
        "resample": 2,
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    backbone = KerasHub(preset=str(tmp_path), weights="random", tokens="patches")
    assert backbone.build().output_shape == (None, 3, 3, 8)
    found = np.asarray(backbone.preprocess(np.array([[[[0, 127.5, 255]]]], "float32")))
    np.testing.assert_allclose(found.ravel(), [-1, 0, 1], atol=1e-5)


def test_the_command_lists_presets_and_refusals(capsys):
    assert main(["DINO"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["preset", "family", "parameters", "on", "disk"]
    assert len(lines) == 1 + 8 + 8
    assert next(line for line in lines if line.startswith("dinov2_base ")).split()[1:] == [
        "DINOV2", "87,632,640", "no"
    ]  # fmt: skip
    assert main([]) == 0
    assert f"PaliGemma: {REFUSED['PaliGemmaBackbone']}" in capsys.readouterr().out
    assert main(["nonsense"]) == 2


def test_listing_plugins_imports_neither_keras_nor_kerashub():
    code = (
        "import sys; from tlkit.registry import Registry; "
        "assert 'kerashub' in [item.name for item in Registry().list('backbone')]; "
        "print([m for m in ('keras', 'keras_hub', 'tensorflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
