"""Every image backbone class of KerasHub through tlkit, with tiny networks in local folders."""

import json
import shutil

import h5py
import keras
import keras_hub
import numpy as np
import pytest
from tiny_networks import SIZE, make
from tlkit_kerashub.backbone import KerasHub
from tlkit_kerashub.families import FAMILIES, REFUSED

from tlkit import ConfigError, WeightsError, load_model
from tlkit.builtin.heads.linear import Linear
from tlkit.fingerprint import digest_model
from tlkit.freezing import batch_normalisation_state, unfreeze
from tlkit.model import assemble, fits_h5
from tlkit.testing import run_checks

CONVERTER = {
    "image_size": (SIZE, SIZE),
    "scale": [1 / 58.4, 1 / 57.1, 1 / 57.4],
    "offset": [-2.1, -2.0, -1.8],
    "interpolation": "bicubic",
}
SHAPES = {
    "CSPNetBackbone": (8, 8, 16),
    "DINOV2Backbone": (1, 1, 8),
    "DINOV3Backbone": (1, 1, 8),
    "DeiTBackbone": (1, 1, 8),
    "DenseNetBackbone": (2, 2, 25),
    "EfficientNetBackbone": (8, 8, 1280),
    "HGNetV2Backbone": (4, 4, 16),
    "MiTBackbone": (4, 4, 16),
    "MobileNetBackbone": (2, 2, 24),
    "MobileNetV5Backbone": (4, 4, 16),
    "ResNetBackbone": (1, 1, 64),
    "SwinTransformerBackbone": (4, 4, 16),
    "VGGBackbone": (8, 8, 16),
    "ViTBackbone": (1, 1, 8),
    "XceptionBackbone": (7, 7, 16),
    "CLIPBackbone": (1, 1, 8),
    "MetaCLIP2Backbone": (1, 1, 8),
    "SigLIPBackbone": (1, 1, 8),
    "SAMBackbone": (4, 4, 8),
}
BLOCKS = {
    "CSPNetBackbone": 3,
    "DINOV2Backbone": 3,
    "DINOV3Backbone": 3,
    "DeiTBackbone": 3,
    "DenseNetBackbone": 7,
    "EfficientNetBackbone": 4,
    "HGNetV2Backbone": 5,
    "MiTBackbone": 5,
    "MobileNetBackbone": 6,
    "MobileNetV5Backbone": 4,
    "ResNetBackbone": 6,
    "SwinTransformerBackbone": 4,
    "VGGBackbone": 2,
    "ViTBackbone": 3,
    "XceptionBackbone": 3,
    "CLIPBackbone": 3,
    "MetaCLIP2Backbone": 3,
    "SigLIPBackbone": 4,
    "SAMBackbone": 4,
}


def converters(parent=keras_hub.layers.ImageConverter):
    for item in parent.__subclasses__():
        if item.backbone_cls is not None:
            yield item
        yield from converters(item)


def converter_class(name):
    return next(item for item in converters() if item.backbone_cls.__name__ == name)


@pytest.fixture(scope="session")
def preset(tmp_path_factory):
    """Return a function from the name of a class to a folder with a tiny preset of it."""
    folders = {}

    def get(name):
        if name not in folders:
            folder = tmp_path_factory.mktemp(name)
            network = make(name)
            for weight in network.weights:  # position embeddings may start at zero
                if weight.dtype == "float32" and not np.any(weight.numpy()):
                    weight.assign(np.random.default_rng(1).normal(0, 0.05, weight.shape))
            network.save_to_preset(folder)
            converter_class(name)(**CONVERTER).save_to_preset(folder)
            folders[name] = network, folder
        return folders[name]

    return get


def pixels(count=2, size=SIZE):
    return np.random.default_rng(0).uniform(0, 255, (count, size, size, 3)).astype("float32")


def test_every_class_of_kerashub_that_takes_images_is_supported_or_refused_with_a_reason():
    taking_images = {item.backbone_cls.__name__ for item in converters()}
    assert taking_images == set(FAMILIES) | set(REFUSED)
    assert not set(FAMILIES) & set(REFUSED)
    assert set(SHAPES) == set(BLOCKS) == set(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_local_preset_of_each_class(name, preset, tmp_path):
    network, folder = preset(name)
    backbone = KerasHub(preset=str(folder))
    assert backbone.image_size == SIZE
    assert backbone.interpolation == "bicubic"
    built = backbone.build()
    assert built.output_shape[1:] == SHAPES[name]

    images = pixels()
    kept = images.copy()
    prepared = backbone.preprocess(images)
    np.testing.assert_allclose(
        prepared, keras_hub.layers.ImageConverter.from_preset(str(folder))(images), atol=1e-5
    )
    np.testing.assert_array_equal(images, kept)
    np.testing.assert_allclose(built(prepared), expected(name, network, prepared), atol=1e-4)

    blocks = backbone.blocks(built)
    assert len(blocks) == BLOCKS[name]
    held = [id(weight) for block in blocks for layer in block for weight in layer.weights]
    assert len(held) == len(set(held))
    assert set(held) == {id(weight) for weight in built.weights}
    assert all(any(layer.weights for layer in block) for block in blocks)

    model = assemble(backbone, Linear(), 3, network=built)
    assert len(digest_model(model, backbone, Linear())) == 64
    model.model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path)
    np.testing.assert_allclose(
        loaded(images, training=False), model.model(images, training=False), atol=1e-6
    )


def expected(name, network, prepared):
    """What KerasHub's own network gives, without tlkit's code."""
    encoder = getattr(network, FAMILIES[name].part) if FAMILIES[name].part else network
    names = encoder.input
    found = encoder({key: prepared for key in names} if isinstance(names, dict) else prepared)
    if name == "HGNetV2Backbone":
        return found["stage2"]
    if name == "MetaCLIP2Backbone":
        found = network.vision_post_layer_norm(found)
    if name == "SwinTransformerBackbone":
        return np.reshape(found, (-1, 4, 4, 16))
    if len(found.shape) == 3:
        found = found[:, 0]
    return found if len(found.shape) == 4 else np.reshape(found, (-1, 1, 1, found.shape[-1]))


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("ViTBackbone", 1),
        ("DeiTBackbone", 2),
        ("DINOV2Backbone", 3),
        ("DINOV3Backbone", 5),
        ("CLIPBackbone", 1),
        ("MetaCLIP2Backbone", 1),
        ("SigLIPBackbone", 0),
    ],
)
def test_patch_tokens_become_a_map(name, first, preset, tmp_path):
    network, folder = preset(name)
    built = KerasHub(preset=str(folder), tokens="patches").build()
    assert built.output_shape == (None, 4, 4, 8)
    prepared = pixels() / 255
    encoder = getattr(network, FAMILIES[name].part) if FAMILIES[name].part else network
    if name == "SigLIPBackbone":
        encoder = keras.Model(encoder.input, encoder.post_layer_norm.output)
    names = encoder.input
    tokens = encoder({key: prepared for key in names} if isinstance(names, dict) else prepared)
    if name == "MetaCLIP2Backbone":
        tokens = network.vision_post_layer_norm(tokens)
    tokens = np.asarray(tokens)[:, first:]
    found = np.asarray(built(prepared))
    np.testing.assert_allclose(found[:, 1, 2], tokens[:, 1 * 4 + 2], atol=1e-4)
    np.testing.assert_allclose(found.reshape(tokens.shape), tokens, atol=1e-4)
    built.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path)
    np.testing.assert_allclose(loaded(prepared), found, atol=1e-6)


@pytest.mark.parametrize("name", ["ResNetBackbone", "SwinTransformerBackbone"])
def test_a_class_token_is_refused_where_there_is_none(name, preset):
    with pytest.raises(ConfigError, match=r"has no class token\. Use 'auto' or 'patches'"):
        KerasHub(preset=str(preset(name)[1]), tokens="class").build()


def test_a_vit_without_a_class_token_gives_its_patches(tmp_path):
    options = {"image_shape": (32, 32, 3), "patch_size": 8, "num_layers": 1, "num_heads": 2}
    network = keras_hub.models.ViTBackbone(
        **options, hidden_dim=8, mlp_dim=16, use_class_token=False
    )
    network.save_to_preset(tmp_path)
    built = KerasHub(preset=str(tmp_path), weights="random").build()
    assert built.output_shape == (None, 4, 4, 8)


@pytest.mark.parametrize(
    ("name", "size", "shape"),
    [
        ("ResNetBackbone", 96, (3, 3, 64)),
        ("EfficientNetBackbone", 48, (12, 12, 1280)),
        ("DINOV2Backbone", 48, (6, 6, 8)),
        ("DINOV3Backbone", 48, (6, 6, 8)),
        ("MiTBackbone", 48, (6, 6, 16)),
        ("SwinTransformerBackbone", 64, (8, 8, 16)),
    ],
)
def test_other_sizes_where_the_weights_allow_them(name, size, shape, preset):
    tokens = "patches" if FAMILIES[name].output == "tokens" else "auto"
    built = KerasHub(preset=str(preset(name)[1]), image_size=size, tokens=tokens).build()
    assert built.output_shape[1:] == shape
    assert np.isfinite(built(pixels(size=size) / 255)).all()


def test_dinov2_of_another_size_keeps_fine_tuned_position_embeddings(preset, tmp_path):
    network, folder = preset("DINOV2Backbone")
    built = KerasHub(preset=str(folder), image_size=48).build()
    images = pixels(size=48) / 255
    resized = network.from_preset(str(folder), image_shape=(48, 48, 3))
    np.testing.assert_allclose(
        np.asarray(built(images)).reshape(2, 8), resized({"images": images})[:, 0], atol=1e-5
    )
    embeddings = built.layers[1].embeddings.interpolated_position_embeddings
    embeddings.assign(np.random.default_rng(0).normal(size=embeddings.shape))
    tuned = np.asarray(built(images))
    built.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path)
    np.testing.assert_allclose(loaded(images), tuned, atol=1e-6)


def test_the_h5_format_is_not_offered(preset):
    # Keras 3.15 loads a frozen ResNetBackbone from .h5 with its weights in another order.
    model = assemble(KerasHub(preset=str(preset("ResNetBackbone")[1])), Linear(), 3)
    assert not fits_h5(model.model)


@pytest.mark.parametrize(
    ("name", "size", "allowed"),
    [
        ("ViTBackbone", 48, "takes 32 pixels and no other size"),
        ("DeiTBackbone", 40, "takes 32 pixels and no other size"),
        ("CLIPBackbone", 16, "takes 32 pixels and no other size"),
        ("MetaCLIP2Backbone", 64, "takes 32 pixels and no other size"),
        ("SigLIPBackbone", 64, "takes 32 pixels and no other size"),
        ("SAMBackbone", 64, "takes 32 pixels and no other size"),
        ("DINOV2Backbone", 50, "takes multiples of 8 pixels"),
        ("DINOV3Backbone", 50, "takes multiples of 8 pixels"),
        ("MiTBackbone", 50, "takes multiples of 8 pixels"),
        ("SwinTransformerBackbone", 48, "takes multiples of 32 pixels"),
        ("ResNetBackbone", 0, "takes multiples of 1 pixels"),
    ],
)
def test_sizes_that_cannot_work_are_refused_before_the_weights_are_read(
    name, size, allowed, preset
):
    with pytest.raises(ConfigError, match=rf"image_size = {size} is not allowed.*{allowed}"):
        KerasHub(preset=str(preset(name)[1]), image_size=size).build()


@pytest.mark.parametrize("name", ["MobileNetBackbone", "HGNetV2Backbone", "ResNetBackbone"])
def test_batch_normalisation_inside_the_layers_of_kerashub_holds_still(name, preset):
    backbone = KerasHub(preset=str(preset(name)[1]))
    network = backbone.build()
    before = batch_normalisation_state(network)
    assert before
    unfreeze(network, backbone.blocks(network), "all")
    network(pixels() / 255, training=True)
    for old, new in zip(before, batch_normalisation_state(network), strict=True):
        np.testing.assert_array_equal(old, new)


def test_unfreezing_one_transformer_block_trains_that_block_alone(preset):
    backbone = KerasHub(preset=str(preset("ViTBackbone")[1]))
    network = backbone.build()
    blocks = backbone.blocks(network)
    assert [layer.name for layer in blocks[-1]][:1] == ["transformer_block_2"]
    unfreeze(network, blocks, 1)
    wanted = sum(len(layer.trainable_weights) for layer in blocks[-1])
    assert len(network.trainable_weights) == wanted == 16 + 2
    assert all("transformer_block_1" not in item.path for item in network.trainable_weights)


@pytest.mark.parametrize(
    ("module", "name"), [("keras.layers", "Lambda"), ("os", "system"), ("keras.utils", "get_file")]
)
def test_a_preset_that_names_more_than_a_network_is_refused(module, name, preset, tmp_path):
    folder = shutil.copytree(preset("ViTBackbone")[1], tmp_path / "preset")
    config = json.loads((folder / "config.json").read_text())
    config["config"]["more"] = {"module": module, "class_name": name, "config": {}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=rf"preset = .* is refused: it names {module}\.{name}"):
        KerasHub(preset=str(folder)).build()


def test_a_preset_whose_weights_lead_elsewhere_is_refused(preset, tmp_path):
    folder = shutil.copytree(preset("ViTBackbone")[1], tmp_path / "preset")
    with h5py.File(folder / "model.weights.h5", "a") as file:
        file["more"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(WeightsError, match=r"is refused: its '/more' is a link"):
        KerasHub(preset=str(folder)).build()


def test_it_conforms(preset):
    _, folder = preset("ViTBackbone")
    outcomes = run_checks(lambda: KerasHub(preset=str(folder)))
    assert {item.check: item.reason for item in outcomes if item.status != "passed"} == {}


@pytest.mark.parametrize("wrong", [{"weights": "imagenet"}, {"tokens": "clas"}])
def test_a_setting_that_is_unknown_is_refused_from_python_too(wrong):
    ((key, value),) = wrong.items()
    with pytest.raises((ConfigError, WeightsError), match=f"Unknown {key} '{value}'.*Allowed: '"):
        KerasHub("vit_base_patch16_224_imagenet", **wrong)
