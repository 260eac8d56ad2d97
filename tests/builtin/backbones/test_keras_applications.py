import ast
import inspect
import subprocess
import sys
import urllib.error
from pathlib import Path

import keras
import numpy as np
import pytest

from tlkit import ConfigError, WeightsError
from tlkit.builtin.backbones import weights as weights_module
from tlkit.builtin.backbones.keras_applications import BACKBONES, FAMILIES, MOBILENETS
from tlkit.builtin.heads.linear import Linear
from tlkit.model import assemble, fits_h5

BY_NAME = {backbone.name: backbone for backbone in BACKBONES}
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 33, 33, 3)).astype(np.float32)
# The module of keras.applications that knows what the weights of each kind of network want.
REFERENCE = {
    "mobilenet": "mobilenet", "mobilenet_v2": "mobilenet_v2", "mobilenet_v3_small": "mobilenet_v3",
    "vgg16": "vgg16", "resnet50": "resnet", "resnet50_v2": "resnet_v2", "xception": "xception",
    "inception_v3": "inception_v3", "inception_resnet_v2": "inception_resnet_v2",
    "densenet121": "densenet", "nasnet_mobile": "nasnet", "efficientnet_b0": "efficientnet",
    "efficientnet_v2_b0": "efficientnet_v2", "convnext_tiny": "convnext",
}  # fmt: skip
SMALL = (
    "mobilenet", "mobilenet_v2", "mobilenet_v3_small", "vgg16", "resnet50", "resnet50_v2",
    "densenet121", "nasnet_mobile", "efficientnet_b0", "efficientnet_v2_b0",
)  # fmt: skip


def test_the_table_covers_every_builder_of_keras_applications():
    builders = {
        name
        for name, value in vars(keras.applications).items()
        if callable(value) and name[0].isupper()
    }
    assert {family.builder for family in (*MOBILENETS, *FAMILIES)} == builders


@pytest.mark.parametrize("name", REFERENCE)
def test_preprocessing_is_that_of_keras_and_changes_nothing_in_place(name):
    before = PIXELS.copy()
    found = keras.ops.convert_to_numpy(BY_NAME[name](image_size=96).preprocess(PIXELS))
    np.testing.assert_array_equal(PIXELS, before)
    module = getattr(keras.applications, REFERENCE[name])
    np.testing.assert_allclose(found, module.preprocess_input(PIXELS.copy()), atol=1e-4)


def test_unit_preprocessing_is_that_of_the_exercise():
    found = BY_NAME["vgg16"](preprocessing="unit").preprocess(PIXELS)
    np.testing.assert_allclose(found, PIXELS / 255, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_families_build_save_and_have_blocks(name, tmp_path):
    backbone = BY_NAME[name](image_size=32, weights="random")
    model = assemble(backbone, Linear(), 3)
    blocks = backbone.blocks(model.backbone)
    assert sum(len(block) for block in blocks) == len(model.backbone.layers)
    assert 4 <= len(blocks) <= 80
    assert all(any(layer.weights for layer in block) for block in blocks[1:])
    # Called, not predict(): that would compile each of the three networks.
    expected = keras.ops.convert_to_numpy(model.model(PIXELS, training=False))
    assert fits_h5(model.model) == (name != "mobilenet_v3_small")
    for suffix in ("keras", "h5")[: 1 + fits_h5(model.model)]:
        model.model.save(tmp_path / f"model.{suffix}")
        loaded = keras.models.load_model(tmp_path / f"model.{suffix}", compile=False)
        np.testing.assert_allclose(loaded(PIXELS, training=False), expected, atol=1e-5)


def test_mobilenet_v2_has_its_published_blocks():
    backbone = BY_NAME["mobilenet_v2"](image_size=32, weights="random", alpha=0.35)
    names = [block[0].name for block in backbone.blocks(backbone.build())]
    assert names[0].startswith("input")
    assert names[1:] == [f"block_{number}_expand" for number in range(1, 17)]


def test_shipped_weights_load_and_fit_their_model_card():
    backbone = BY_NAME["mobilenet_v2"](image_size=48, alpha=0.35, weights="cifar10")
    network = backbone.build()
    assert network.count_params() == 410_208
    assert all(np.isfinite(weight.numpy()).all() for weight in network.weights)
    again = backbone.build()
    for one, other in zip(network.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_shipped_weights_are_small_and_float16():
    from importlib.resources import files

    path = files("tlkit.builtin.backbones") / weights_module.SHIPPED
    assert len(path.read_bytes()) < 2 * 2**20
    with np.load(path, allow_pickle=False) as arrays:
        assert {arrays[key].dtype for key in arrays} == {np.dtype(np.float16)}


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("mobilenet_v2", {"weights": "cifar10"}, WeightsError, "are for alpha = 0.35"),
        ("mobilenet_v2", {"weights": "imagnet"}, WeightsError, "'imagenet', 'random', 'cifar10'"),
        ("mobilenet", {"weights": "cifar10"}, WeightsError, "is no file"),
        ("vgg16", {"weights": "cifar10"}, WeightsError, "'imagenet', 'random', or the path"),
        ("mobilenet_v2", {"alpha": 0.0}, ConfigError, "above 0"),
        ("mobilenet_v2", {"alpha": 0.36, "weights": "imagenet"}, WeightsError, "alpha"),
        ("xception", {"image_size": 70}, ConfigError, "71 pixels or more"),
    ],
)
def test_bad_settings_say_what_is_allowed(name, options, error, message):
    with pytest.raises(error, match=message):
        BY_NAME[name](**options).build()


def test_a_weights_file_is_loaded_or_named(tmp_path):
    source = BY_NAME["mobilenet_v2"](image_size=32, weights="random", alpha=0.35).build()
    source.save_weights(tmp_path / "a.weights.h5")
    path = str(tmp_path / "a.weights.h5")
    loaded = BY_NAME["mobilenet_v2"](image_size=32, weights=path, alpha=0.35).build()
    for one, other in zip(source.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    with pytest.raises(WeightsError, match="Cannot load"):
        BY_NAME["mobilenet_v2"](image_size=32, weights=path, alpha=0.5).build()


def test_no_internet_gives_one_error_that_says_what_to_do(monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise Exception("URL fetch failure on https://example.org/w/net_224.h5: None -- no name")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras.applications, "MobileNetV2", fail)
    with pytest.raises(WeightsError) as caught:
        BY_NAME["mobilenet_v2"]().build()
    for part in ("example.org", str(tmp_path / "models" / "net_224.h5"), "tlkit run quickstart"):
        assert part in str(caught.value)


V3_SMALL = "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5"


def keep_downloads_in(folder, monkeypatch, retrieve):
    """Give Keras a home of its own, and ``retrieve(url, path, hook)`` for an internet."""
    from keras.src.backend import config
    from keras.src.utils import file_utils

    monkeypatch.setenv("KERAS_HOME", str(folder))
    monkeypatch.setattr(config, "_KERAS_DIR", str(folder))
    monkeypatch.setattr(file_utils, "urlretrieve", retrieve)
    (folder / "models").mkdir()
    return folder / "models"


def no_internet(url, path, hook):
    raise urllib.error.URLError("no name")


def test_a_stored_file_with_another_hash_is_not_used_and_named(monkeypatch, tmp_path):
    path = keep_downloads_in(tmp_path, monkeypatch, no_internet) / V3_SMALL
    path.write_bytes(b"planted")
    with pytest.raises(WeightsError) as caught:
        BY_NAME["mobilenet_v3_small"]().build()
    for part in (f"{path} was not the file", "its hash differs", "put that file at"):
        assert part in str(caught.value)


def test_a_file_that_keras_does_not_look_for_is_not_called_damaged(monkeypatch, tmp_path):
    keep_downloads_in(tmp_path, monkeypatch, no_internet)
    later = tmp_path / "later"
    (later / "models").mkdir(parents=True)
    (later / "models" / V3_SMALL).write_bytes(b"good")
    monkeypatch.setenv("KERAS_HOME", str(later))
    with pytest.raises(WeightsError, match="only if it is set before Keras is imported") as caught:
        BY_NAME["mobilenet_v3_small"]().build()
    assert "hash" not in str(caught.value)


def test_a_download_with_another_hash_is_not_used_and_named(monkeypatch, tmp_path):
    def retrieve(url, path, hook):
        Path(path).write_bytes(b"changed on the way")

    models = keep_downloads_in(tmp_path, monkeypatch, retrieve)
    (models / "of_another_network.h5").write_bytes(b"old")
    with pytest.raises(WeightsError) as caught:
        BY_NAME["mobilenet_v3_small"]().build()
    assert f"downloaded to {models / V3_SMALL} are not those that Keras published" in str(
        caught.value
    )


def test_a_damaged_file_without_a_hash_is_named(monkeypatch, tmp_path):
    models = keep_downloads_in(tmp_path, monkeypatch, no_internet)
    (models / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5").write_bytes(b"x")
    with pytest.raises(WeightsError, match="Cannot read the ImageNet weights of mobilenet_v2"):
        BY_NAME["mobilenet_v2"](alpha=0.35).build()


@pytest.mark.parametrize("home", ["a folder", "nothing"])
def test_a_folder_that_others_may_fill_is_not_read(monkeypatch, tmp_path, home):
    folder = tmp_path / "home"
    if home == "a folder":
        folder.mkdir()
        # Not by chmod: root may write everywhere.
        monkeypatch.setattr("os.access", lambda path, mode: Path(path) != folder)
    monkeypatch.setenv("KERAS_HOME", str(folder))
    with pytest.raises(WeightsError, match=r"cannot write to .*home, .*Set KERAS_HOME"):
        BY_NAME["mobilenet_v2"]().build()


def test_the_backbones_without_a_hash_are_those_of_the_documentation():
    without = {
        family.name
        for family in (*MOBILENETS, *FAMILIES)
        if not all(map(has_hash, downloads(getattr(keras.applications, family.builder))))
    }
    text = (Path(__file__).parents[3] / "docs" / "project" / "supply-chain.md").read_text(
        encoding="utf-8"
    )
    rows = [line.split("|")[1:3] for line in text.splitlines() if "| no hash" in line]
    assert without == {name.strip(" `") for names, _ in rows for name in names.split(",")}


def downloads(builder):
    """Return the calls of get_file in the module of a builder."""
    tree = ast.parse(Path(inspect.getsourcefile(inspect.unwrap(builder))).read_text())
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "get_file"
    ]
    # ResNet V2 is built by the module of ResNet.
    return found or downloads(keras.applications.ResNet50)


def has_hash(call):
    return any(keyword.arg == "file_hash" for keyword in call.keywords)


@pytest.mark.parametrize("data", [b"", b"PK planted"])
def test_shipped_weights_that_were_changed_are_refused(monkeypatch, tmp_path, data):
    (tmp_path / weights_module.SHIPPED).write_bytes(data)
    monkeypatch.setattr(weights_module, "files", lambda package: tmp_path)
    with pytest.raises(WeightsError, match="is damaged: its SHA-256 is"):
        BY_NAME["mobilenet_v2"](image_size=48, alpha=0.35, weights="cifar10").build()


@pytest.mark.real_data
def test_real_imagenet_weights_load(real_data_home):
    # Keras reads KERAS_HOME when it is imported, hence the process of its own.
    code = (
        "from tlkit import Registry\n"
        "backbone = Registry(entry_points=False).create('backbone', 'mobilenet_v2')\n"
        "assert backbone.build().output_shape == (None, 3, 3, 1280)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
