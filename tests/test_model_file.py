import base64
import json
import marshal
import os
import zipfile

import h5py
import keras
import numpy as np
import pytest

from tests.tiny import Colours, TinyBackbone
from tlkit import (
    RunFolderError,
    TestTimeAugmentation,
    Trainer,
    UnsafeFileError,
    load_model,
    model_file,
)
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain
from tlkit.checkpoint import Checkpoints
from tlkit.model_file import check_model_config, check_model_file, check_weights


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Trainer(
        TinyBackbone(),
        "linear",
        Colours(),
        FreezeAndTrain(1),
        [],
        runs=tmp_path_factory.mktemp("runs"),
        save=["keras", "h5"],
    ).run()


@pytest.fixture
def parts(run):
    """The members of a good model file."""
    with zipfile.ZipFile(run.folder / "model.keras") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(folder, parts, name="model.keras"):
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as archive:
        for member, content in parts.items():
            archive.writestr(member, content)
    return folder / name


def code(path):
    """Python's bytecode of a function that leaves a file behind, as Keras writes a Lambda's."""
    function = compile(f"lambda x: [open({str(path)!r}, 'w'), x][1]", "<string>", "eval")
    inner = next(item for item in function.co_consts if hasattr(item, "co_code"))
    return base64.b64encode(marshal.dumps(inner)).decode()


def lambda_layer(path):
    function = {"class_name": "__lambda__", "config": {"code": code(path), "defaults": None,
                                                      "closure": None}}  # fmt: skip
    return {"module": "keras.layers", "class_name": "Lambda", "registered_name": None,
            "config": {"name": "lambda", "function": function, "arguments": {}}}  # fmt: skip


def named(module, name, **config):
    return {"module": module, "class_name": name, "config": config, "registered_name": None}


def function(module, name):
    return {"module": module, "class_name": "function", "config": name,
            "registered_name": "function"}  # fmt: skip


def with_layer(parts, layer):
    """A good file with one more layer, which stands unconnected among the others."""
    config = json.loads(parts["config.json"])
    layer = {"name": "evil", "inbound_nodes": [], **layer}
    layer["config"] = {"name": "evil", **layer["config"]} if isinstance(
        layer["config"], dict) else layer["config"]  # fmt: skip
    config["config"]["layers"].insert(0, layer)
    return parts | {"config.json": json.dumps(config).encode()}


def test_files_of_tlkit_are_let_in_and_load(run, tmp_path):
    for suffix in ("keras", "h5"):
        check_model_file(run.folder / f"model.{suffix}")
        loaded = model_file.load_model_file(run.folder / f"model.{suffix}")
        pixels = Colours().load(0).test.images[:4]
        np.testing.assert_allclose(loaded(pixels), run.model(pixels), atol=1e-6)


@pytest.mark.parametrize("head", ["dense", "mlp", "logistic", "prototype", "knn"])
def test_models_of_every_head_and_with_views_are_let_in(head, tmp_path):
    views = TestTimeAugmentation(mirror=True, scales=(1.25,))
    result = Trainer(
        TinyBackbone(), head, Colours(), FreezeAndTrain(1), [], runs=tmp_path,
        test_time_augmentation=views,
    ).run()  # fmt: skip
    assert load_model(result.folder).count_params() == result.model.count_params()


@pytest.mark.parametrize("application", ["MobileNetV3Small", "EfficientNetV2B0", "ConvNeXtTiny"])
def test_networks_of_keras_applications_are_let_in(application, tmp_path):
    network = getattr(keras.applications, application)(weights=None, include_top=False)
    check_model_config(json.dumps(keras.saving.serialize_keras_object(network)))


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (lambda path: lambda_layer(path), "keras.layers.Lambda"),
        # CVE-2025-1550: any module, any function.
        (lambda path: function("os", "system"), "function os.system"),
        (lambda path: named("os", "system"), "os.system"),
        (lambda path: named("subprocess", "Popen", args=["touch", str(path)]), "subprocess.Popen"),
        (lambda path: named("builtins", "eval"), "builtins.eval"),
        # CVE-2025-8747, CVE-2025-9906: functions of Keras itself.
        (lambda path: function("keras.utils", "get_file"), "function keras.utils.get_file"),
        (lambda path: named("keras.utils", "get_file", origin="http://x"), "keras.utils.get_file"),
        (
            lambda path: function("keras.config", "enable_unsafe_deserialization"),
            "function keras.config.enable_unsafe_deserialization",
        ),
        (lambda path: function("keras.models", "load_model"), "function keras.models.load_model"),
        (lambda path: function("builtins", "eval"), "function builtins.eval"),
        # CVE-2026-1462, and layers that hand the work to another framework's pickles.
        (lambda path: named("keras.layers", "TFSMLayer", filepath=str(path)), "TFSMLayer"),
        (lambda path: named("keras.layers", "TorchModuleWrapper"), "TorchModule"),
        (lambda path: named("keras.layers", "JaxLayer"), "JaxLayer"),
        (lambda path: named("keras.layers", "FlaxLayer"), "FlaxLayer"),
        # CVE-2025-12058: layers that read a file.
        (lambda path: named("keras.layers", "StringLookup", vocabulary="/etc/passwd"), "Lookup"),
        (lambda path: named("keras.layers", "TextVectorization"), "TextVectorization"),
        # Private places, other names for the same, and what is no class at all.
        (lambda path: named("keras.src.layers.core.lambda_layer", "Lambda"), "lambda_layer.Lambda"),
        (lambda path: named("keras.src.layers", "Lambda"), "Lambda"),
        (lambda path: named(None, "Lambda"), "names Lambda"),
        (lambda path: named("keras.src.utils.file_utils", "get_file"), "get_file"),
        (lambda path: named("keras_hub.src.tokenizers.tokenizer", "Tokenizer"), "Tokenizer"),
        (lambda path: named("keras.layers", ["Lambda"]), "no name"),
        (lambda path: named("keras.layers", "__dict__"), "__dict__"),
        (lambda path: named("keras.layers", "Lambda") | {"registered_name": "Dense"}, "Lambda"),
        (lambda path: {"class_name": "__lambda__", "config": {"value": code(path)}}, "__lambda__"),
        (lambda path: {"class_name": "__typespec__", "config": []}, "__typespec__"),
        # Within something harmless.
        (
            lambda path: named("keras.layers", "Dense", units=1, activation=lambda_layer(path)),
            "Lambda",
        ),
        (
            lambda path: named(
                "keras.layers", "Dense", units=1, activation=function("os", "system")
            ),
            "function os.system",
        ),
    ],
)
def test_exploits_are_named_and_nothing_is_run(layer, name, parts, tmp_path):
    left = tmp_path / "owned"
    path = write(tmp_path / "run", with_layer(parts, layer(left)))
    with pytest.raises(UnsafeFileError, match=r"model\.keras is refused: it names") as caught:
        check_model_file(path)
    assert name in str(caught.value)
    with pytest.raises(RunFolderError, match=r"model\.keras is refused"):
        load_model(path.parent)
    assert not left.exists()


def test_a_solved_head_among_checkpoints_is_checked_too(parts, tmp_path):
    layer = named("keras.layers", "TFSMLayer", filepath=str(tmp_path))
    write(tmp_path, with_layer(parts, layer), "phase-1.keras")
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.load_solved(0) is None
    assert "TFSMLayer" in checkpoints.warnings[0]


def legacy(path, layers):
    """A model in the .h5 format, of the layers given."""
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": layers}}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = keras.__version__
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = []
        group.attrs["keras_version"] = keras.__version__


INPUT = {"class_name": "InputLayer", "config": {"batch_shape": [None, 2], "name": "i"}}


def test_an_h5_file_with_a_lambda_is_refused_and_not_run(tmp_path):
    left = tmp_path / "owned"
    for number, body in enumerate(
        (
            {"function": [code(left), None, None], "function_type": "lambda"},  # Keras 2
            {"function": {"class_name": "__lambda__",
                          "config": {"code": code(left), "defaults": None, "closure": None}}},
        )
    ):  # fmt: skip
        folder = tmp_path / str(number)
        folder.mkdir()
        layer = {"class_name": "Lambda", "config": {"name": "l", "arguments": {}, **body}}
        legacy(folder / "model.h5", [INPUT, layer])
        with pytest.raises(RunFolderError, match=r"model\.h5 is refused: it names Lambda"):
            load_model(folder)
        assert not left.exists()


def test_the_lambda_is_a_real_exploit(tmp_path):
    left = tmp_path / "owned"
    layer = {"class_name": "Lambda", "config": {
        "name": "l", "arguments": {}, "function": {
            "class_name": "__lambda__",
            "config": {"code": code(left), "defaults": None, "closure": None}}}}  # fmt: skip
    legacy(tmp_path / "model.h5", [INPUT, layer])
    keras.models.load_model(tmp_path / "model.h5", compile=False, safe_mode=False)
    assert left.exists()


def test_what_an_installed_package_registers_is_let_in_if_it_is_a_layer(tmp_path):
    @keras.saving.register_keras_serializable("tests", "Doubling")
    class Doubling(keras.layers.Layer):
        def call(self, inputs):
            return inputs * 2

    @keras.saving.register_keras_serializable("tests", "NoLayer")
    class NoLayer:
        def get_config(self):
            return {}

        @classmethod
        def from_config(cls, config):
            raise AssertionError("it was built")

    registered = {"class_name": "Doubling", "registered_name": "tests>Doubling", "config": {}}
    check_model_config(json.dumps({**registered, "module": "elsewhere"}))
    other = {"class_name": "NoLayer", "registered_name": "tests>NoLayer", "config": {}}
    with pytest.raises(UnsafeFileError, match="NoLayer"):
        check_model_config(json.dumps({**other, "module": "elsewhere"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"../../evil.py": b"x"}, r"'\.\./\.\./evil\.py', which leads out"),
        ({"/etc/evil": b"x"}, "leads out"),
        ({"..\\evil": b"x"}, "leads out"),
        ({"C:evil": b"x"}, "leads out"),
        ({"assets/a.txt": b"x"}, r"'assets/a\.txt'; allowed are config\.json"),
        ({"model.weights.npz": b"x"}, "allowed are"),
        ({"config.json": b"["}, "no JSON"),
        ({"config.json": b"[1]"}, "describes no model"),
        ({"config.json": b"[" * 10**5}, "no JSON"),
        ({"config.json": b'{"a": ' + b"[" * 150 + b"]" * 150 + b"}"}, "nested more than 100"),
    ],
)
def test_strange_archives_are_refused(changes, message, parts, tmp_path):
    path = write(tmp_path / "run", {**parts, **changes})
    with pytest.raises(RunFolderError, match=message):
        load_model(path.parent)
    assert [item.name for item in tmp_path.rglob("*") if item.is_file()] == ["model.keras"]


def test_a_missing_and_a_double_member_are_named(parts, tmp_path):
    config = parts.pop("config.json")
    with pytest.raises(RunFolderError, match=r"it has no config\.json"):
        load_model(write(tmp_path / "a", parts).parent)
    path = write(tmp_path / "b", {"config.json": config, **parts})
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", b"{}")
    with pytest.raises(RunFolderError, match=r"two members 'config\.json'"):
        load_model(path.parent)


def test_a_link_in_the_archive_is_refused(parts, tmp_path):
    path = write(tmp_path / "run", parts)
    link = zipfile.ZipInfo("assets")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc")
    with pytest.raises(RunFolderError, match="'assets', which is a link"):
        load_model(path.parent)


def test_a_decompression_bomb_is_refused_before_it_is_unpacked(parts, tmp_path):
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", parts["config.json"])
        with archive.open("model.weights.h5", "w") as member:
            for _ in range(70):
                member.write(bytes(2**20))
    assert path.stat().st_size < 200_000
    with pytest.raises(RunFolderError, match=r"'model.weights.h5' would unpack from .* bomb"):
        load_model(path.parent)


def test_the_limit_on_all_bytes_can_be_set(run, monkeypatch):
    monkeypatch.setenv("TLKIT_MAX_FILE_BYTES", "1000")
    with pytest.raises(RunFolderError, match=r"more than 1,000\..*TLKIT_MAX_FILE_BYTES"):
        load_model(run.folder)


def test_a_long_config_is_refused(run, monkeypatch):
    monkeypatch.setattr(model_file, "MAX_CONFIG_BYTES", 100)
    with pytest.raises(RunFolderError, match="more than 100 bytes"):
        load_model(run.folder)


def weights_file(path, change):
    with h5py.File(path, "w") as file:
        file.create_dataset("kernel", data=np.zeros(3))
        change(file)
    return path


def external(file):
    file["other"] = h5py.ExternalLink("/etc/passwd", "/")


def soft(file):
    file["other"] = h5py.SoftLink("/kernel")


def twice(file):
    file["other"] = file["kernel"]


def stored_elsewhere(file):
    file.create_dataset("other", (4,), "u1", external=[("/etc/passwd", 0, 4)])


def virtual(file):
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (3,))
    file.create_virtual_dataset("other", layout)


def bomb(file):
    file.create_dataset("other", (2**34,), "f4", chunks=(2**20,), compression="gzip")


def loop(file):
    file["group/self"] = file["/"]


def kind(file):
    file["other"] = np.dtype("f4")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external, "'/other' is a link"),
        (soft, "'/other' is a link"),
        (twice, "under another name"),
        (stored_elsewhere, "'/other' is kept in another file"),
        (virtual, "'/other' is kept in another file"),
        (bomb, r"'/other' would unpack from 0 to 68,719,476,736 bytes"),
        (loop, "under another name"),
        (kind, "is a Datatype"),
    ],
)
def test_weights_that_lead_elsewhere_or_are_bombs_are_refused(change, message, parts, tmp_path):
    path = weights_file(tmp_path / "a.weights.h5", change)
    with pytest.raises(UnsafeFileError, match=message):
        check_weights(path)
    inside = write(tmp_path / "run", parts | {"model.weights.h5": path.read_bytes()})
    for check in (lambda: check_weights(inside), lambda: load_model(inside.parent)):
        with pytest.raises((UnsafeFileError, RunFolderError), match=message):
            check()


def test_good_weights_are_let_in(run, tmp_path):
    check_weights(run.folder / "model.keras")
    check_weights(weights_file(tmp_path / "a.h5", lambda file: None))


def test_a_model_without_a_config_is_no_model(tmp_path):
    weights_file(tmp_path / "model.h5", lambda file: None)
    with pytest.raises(RunFolderError, match="holds no model"):
        load_model(tmp_path)
    (tmp_path / "model.h5").write_bytes(os.urandom(100))
    with pytest.raises(RunFolderError, match="is damaged"):
        load_model(tmp_path)
