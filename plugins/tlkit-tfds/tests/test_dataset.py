import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlkit import ConfigError, DataError, PluginError, Registry, Trainer
from tlkit.leakage import find_leakage
from tlkit.options import validate_options
from tlkit.subsets import Subset
from tlkit.testing import run_checks

tfds = pytest.importorskip("tensorflow_datasets", reason="pip install tlkit-tfds")

from tlkit_tfds import dataset as module  # noqa: E402
from tlkit_tfds.dataset import TensorFlowDatasets  # noqa: E402

CLASSES = ("cat", "dog", "fox")
FEATURES = {
    "image": tfds.features.Image(shape=(None, None, 3)),
    "label": tfds.features.ClassLabel(names=CLASSES),
}


@pytest.fixture(autouse=True)
def _no_internet(monkeypatch):
    monkeypatch.setattr(module, "_names_resolve", lambda: False)


def pixels_of(number):
    return np.full((6, 8, 3), 2 * number, np.uint8)


def examples(numbers):
    return [{"image": pixels_of(number), "label": number % 3} for number in numbers]


def write(folder, file_format="tfrecord", features=FEATURES, **splits):
    """Prepare a small dataset on disk, as tfds does, and return its folder."""
    splits = splits or {"train": examples(range(30)), "test": examples(range(40, 49))}

    class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            described = tfds.features.FeaturesDict(features)
            return tfds.core.DatasetInfo(builder=self, features=described)

        def _split_generators(self, manager):
            return {name: enumerate(rows) for name, rows in splits.items()}

        def _generate_examples(self):
            raise NotImplementedError

    builder = Tiny(data_dir=str(folder), file_format=file_format)
    tfds.disable_progress_bar()
    builder.download_and_prepare()
    return str(builder.data_path)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write(tmp_path_factory.mktemp("tfds"))


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_a_prepared_folder(tmp_path, file_format):
    splits = {"train": range(30), "validation": range(30, 36), "test": range(40, 49)}
    splits = {name: examples(numbers) for name, numbers in splits.items()}
    data = TensorFlowDatasets(path=write(tmp_path, file_format, **splits)).load(0)
    assert data.class_names == CLASSES
    assert (len(data.train), len(data.validation), len(data.test)) == (30, 6, 9)
    assert sorted(int(image[0, 0, 0]) // 2 for image in data.test.images) == list(range(40, 49))
    for image, label in zip(data.train.images, data.train.labels, strict=True):
        assert image.shape == (6, 8, 3)
        assert int(image[0, 0, 0]) // 2 % 3 == label
    assert data.train.names[3] == "train 3"
    assert data.notes == ()


def test_two_loads_are_equal(prepared):
    first, second = (TensorFlowDatasets(path=prepared).load(0) for _ in range(2))
    assert first.train.images.fingerprint() == second.train.images.fingerprint()
    assert first.train.labels.tolist() == second.train.labels.tolist()
    assert first.train.images.fingerprint() != first.test.images.fingerprint()


def test_split_expressions(prepared):
    data = TensorFlowDatasets(
        path=prepared, train="train[:60%]", validation="train[60%:80%]", test="train[80%:]+test"
    ).load(0)
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 6, 15)


def test_a_dataset_without_a_test_split_is_split_evenly_and_by_the_seed(tmp_path):
    path = write(tmp_path, train=examples(range(30)))
    data = TensorFlowDatasets(path=path, test_fraction=0.4).load(1)
    assert np.bincount(data.test.labels).tolist() == [4, 4, 4]
    assert "has no test split: 40% of 'train'" in data.notes[0]
    assert TensorFlowDatasets(path=path, test_fraction=0.4).load(1).test.names == data.test.names
    assert TensorFlowDatasets(path=path, test_fraction=0.4).load(2).test.names != data.test.names


def test_leakage_between_overlapping_splits_is_found(prepared):
    data = TensorFlowDatasets(path=prepared, train="train[:20]", test="train[15:]").load(0)
    train, test = (Subset(item, np.arange(len(item))) for item in (data.train, data.test))
    assert find_leakage(train, test, test).counts["test"] == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "trian"}, r"train = 'trian': Unknown split.*Splits of .*: train, test"),
        ({"test": "train[:5"}, r"test = 'train\[:5'"),
        ({"image": "picture"}, r"one Image feature as image: 'picture' is none of them"),
        ({"label": "image"}, r"one ClassLabel feature as label: 'image' is none of them"),
        ({"train": "train[:0]"}, r"split 'train\[:0\]' of .* is empty"),
    ],
)
def test_wrong_splits_and_features_are_named(prepared, options, message):
    with pytest.raises(DataError, match=message):
        TensorFlowDatasets(path=prepared, **options).load(0)


def test_features_are_found_by_their_type_or_named_where_there_are_two(tmp_path):
    features = {
        "photo": tfds.features.Image(shape=(None, None, 3)),
        "fine": tfds.features.ClassLabel(names=CLASSES),
        "coarse": tfds.features.ClassLabel(num_classes=2),
    }
    rows = [{"photo": pixels_of(n), "fine": n % 3, "coarse": n % 2} for n in range(12)]

    path = write(tmp_path, features=features, train=rows)
    with pytest.raises(DataError, match=r"label: none is named\. It has: .*coarse"):
        TensorFlowDatasets(path=path).load(0)
    assert TensorFlowDatasets(path=path, label="fine").load(0).class_names == CLASSES
    assert TensorFlowDatasets(path=path, label="coarse").load(0).class_names == ("0", "1")


def test_a_path_that_is_no_prepared_dataset(tmp_path):
    with pytest.raises(DataError, match=r"is no prepared dataset.*dataset_info\.json"):
        TensorFlowDatasets(path=str(tmp_path)).load(0)


def test_either_a_name_or_a_path(prepared):
    for options in ({}, {"dataset": "mnist", "path": prepared}):
        with pytest.raises(ConfigError, match="either dataset"):
            TensorFlowDatasets(**options)


def test_a_name_that_needs_the_internet_gives_one_error_at_once(tmp_path):
    with pytest.raises(DataError, match=r"Cannot download.*no internet.*data_dir"):
        TensorFlowDatasets("mnist", data_dir=str(tmp_path)).load(0)
    with pytest.raises(DataError, match=r"is not prepared in .*download = true"):
        TensorFlowDatasets("mnist", data_dir=str(tmp_path), download=False).load(0)
    with pytest.raises(DataError, match=r"'mnst': .*Did you mean 'mnist'"):
        TensorFlowDatasets("mnst", data_dir=str(tmp_path)).load(0)


def test_records_that_are_cut_short_are_named(tmp_path):
    path = write(tmp_path)
    for record in tmp_path.rglob("*train*tfrecord*"):
        record.write_bytes(record.read_bytes()[:-20])
    with pytest.raises(DataError, match="Cannot read the split 'train'"):
        TensorFlowDatasets(path=path).load(0)


def test_grey_pictures_are_made_rgb_and_said(tmp_path):
    features = {**FEATURES, "image": tfds.features.Image(shape=(4, 4, 1))}
    rows = [{"image": np.full((4, 4, 1), n, np.uint8), "label": n % 3} for n in range(30)]
    data = TensorFlowDatasets(path=write(tmp_path, features=features, train=rows)).load(0)
    assert data.train.images[0].shape == (4, 4, 3)
    assert {note.kinds for note in data.pictures} == {("greyscale",)}
    assert len(data.pictures) == 30


def test_broken_pictures_are_named_and_left_out_when_asked(tmp_path):
    files = []
    for number in range(12):
        files.append(tmp_path / f"{number}.png")
        noise = np.random.default_rng(number).integers(0, 255, (40, 40, 3), np.uint8)
        Image.fromarray(noise).save(files[-1])
    files[5].write_bytes(files[5].read_bytes()[:2000])
    rows = [{"image": str(path), "label": n % 3} for n, path in enumerate(files)]
    path = write(tmp_path / "data", train=rows)
    data = TensorFlowDatasets(path=path, broken="skip", test_fraction=0.3).load(0)
    assert len(data.train) + len(data.test) == 11
    assert data.pictures[0].kinds == ("broken",)


def test_it_is_found_by_its_entry_point_and_trains(tmp_path):
    path = write(tmp_path, train=examples(range(90)), test=examples(range(90, 99)))
    result = Trainer(
        backbone={"name": "mobilenet_v2", "alpha": 0.35, "weights": "cifar10", "image_size": 32},
        head="linear",
        dataset={"name": "tfds", "path": path},
        workflow={"name": "freeze_and_train", "epochs": 1},
        reporters=[],
        runs=tmp_path / "runs",
    ).run()
    assert result.info.class_names == CLASSES
    assert result.info.num_test == 9


def test_a_missing_library_ends_the_run_with_the_pip_command(monkeypatch, prepared):
    monkeypatch.setattr(TensorFlowDatasets, "modules", ("no_such_module",))
    with pytest.raises(PluginError, match="pip install tlkit-tfds"):
        Trainer(dataset={"name": "tfds", "path": prepared}, reporters=[], runs=None).run()


def test_listing_plugins_does_not_import_the_library():
    code = (
        "import sys; from tlkit import Registry; Registry().get('dataset', 'tfds'); "
        "assert not {'tensorflow', 'tensorflow_datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_options_of_a_config_are_checked():
    options = {"dataset": "mnist", "download": False, "train": "train[:10%]"}
    assert validate_options(TensorFlowDatasets, options, where="a file") == options
    assert Registry().get("dataset", "tfds") is TensorFlowDatasets


@pytest.mark.parametrize("key", ["path", "data_dir"])
@pytest.mark.parametrize("where", ["top", "inner", "legacy"])
def test_a_prepared_folder_that_names_a_module_is_refused_and_not_imported(
    tmp_path, monkeypatch, key, where
):
    (tmp_path / "evil_module.py").write_text("open('owned', 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    folder = Path(write(tmp_path / "prepared"))
    described = json.loads((folder / "features.json").read_text())
    name = "evil_module.Feature"
    if where == "top":
        described["pythonClassName"] = name
    elif where == "inner":
        described["featuresDict"]["features"]["image"]["pythonClassName"] = name
    else:
        described = {"type": name, "content": {}}
    (folder / "features.json").write_text(json.dumps(described))
    options = {"path": str(folder)}
    if key == "data_dir":
        options = {"dataset": folder.parent.name, "data_dir": str(folder.parent.parent)}
    with pytest.raises(
        DataError, match=r"features\.json is refused: it names evil_module\.Feature"
    ):
        TensorFlowDatasets(**options, download=False).load(0)
    assert not (tmp_path / "owned").exists()


def test_it_conforms(prepared):
    outcomes = run_checks(lambda: TensorFlowDatasets(path=prepared))
    assert {item.check: item.reason for item in outcomes if item.status != "passed"} == {}
