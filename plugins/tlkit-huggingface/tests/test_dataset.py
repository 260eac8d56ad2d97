import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlkit import DataError, PluginError, Registry, Trainer
from tlkit.leakage import find_leakage
from tlkit.options import validate_options
from tlkit.subsets import Subset
from tlkit.testing import run_checks

datasets = pytest.importorskip("datasets", reason="pip install tlkit-huggingface")

from tlkit_huggingface import dataset as module  # noqa: E402
from tlkit_huggingface.dataset import HuggingFace  # noqa: E402

CLASSES = ["cat", "dog", "fox"]


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")


@pytest.fixture(autouse=True)
def _no_internet(monkeypatch):
    monkeypatch.setattr(module, "_names_resolve", lambda: False)


def pixels_of(number):
    return np.full((6, 7, 3), 2 * number, np.uint8)


def rows(count, first=0):
    images = [Image.fromarray(pixels_of(first + number)) for number in range(count)]
    return {"image": images, "label": [number % 3 for number in range(count)]}


FEATURES = {"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)}


def make(count=30, first=0, features=FEATURES):
    return datasets.Dataset.from_dict(rows(count, first), features=datasets.Features(features))


def splits(**changes):
    return datasets.DatasetDict({"train": make(18), "test": make(6, 20)} | changes)


def test_a_folder_of_save_to_disk(tmp_path):
    splits(validation=make(3, 27)).save_to_disk(tmp_path / "data")
    data = HuggingFace(str(tmp_path / "data")).load(0)
    assert data.class_names == tuple(CLASSES)
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 3, 6)
    assert data.train.labels.tolist() == [number % 3 for number in range(18)]
    np.testing.assert_array_equal(data.train.images[4], pixels_of(4))
    np.testing.assert_array_equal(data.test.images[1], pixels_of(21))
    assert data.test.names[1] == "test 1"
    assert data.notes == ()


def test_one_split_is_split_evenly_and_by_the_seed(tmp_path):
    make().save_to_disk(tmp_path / "data")
    data = HuggingFace(str(tmp_path / "data"), test_fraction=0.4).load(1)
    assert np.bincount(data.test.labels).tolist() == [4, 4, 4]
    assert not set(data.test.names) & set(data.train.names)
    again = HuggingFace(str(tmp_path / "data"), test_fraction=0.4)
    assert again.load(1).test.names == data.test.names
    assert again.load(2).test.names != data.test.names
    assert "has no test split: 40% of 'train'" in data.notes[0]


def test_a_folder_of_pictures(tmp_path):
    for part, count in (("train", 4), ("test", 2)):
        for number, name in enumerate(CLASSES):
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                Image.fromarray(pixels_of(number)).save(folder / f"{index}.png")
    data = HuggingFace(str(tmp_path / "data")).load(0)
    assert data.class_names == tuple(CLASSES)
    assert (len(data.train), len(data.test)) == (12, 6)
    for image, label in zip(data.test.images, data.test.labels, strict=True):
        np.testing.assert_array_equal(image, pixels_of(label))


def test_parquet_and_arrow_files(tmp_path):
    (tmp_path / "data").mkdir()
    for name, table in splits().items():
        table.to_parquet(tmp_path / "data" / f"{name}.parquet")
    data = HuggingFace(str(tmp_path / "data")).load(0)
    assert (len(data.train), len(data.test)) == (18, 6)
    data = HuggingFace(str(tmp_path / "data" / "train.parquet")).load(0)
    assert len(data.train) + len(data.test) == 18
    assert data.class_names == tuple(CLASSES)
    make().save_to_disk(tmp_path / "disk")
    (arrow,) = (tmp_path / "disk").glob("*.arrow")
    data = HuggingFace(str(arrow)).load(0)
    assert len(data.train) + len(data.test) == 30


def test_encoded_bytes_of_a_plain_parquet_file(tmp_path):
    contents = []
    for number in range(12):
        buffer = io.BytesIO()
        Image.fromarray(pixels_of(number)).save(buffer, "PNG")
        contents.append(buffer.getvalue())
    table = datasets.Dataset.from_dict(
        {"pic": contents, "kind": ["b", "a"] * 6, "again": [0, 1] * 6}
    )
    table.to_parquet(tmp_path / "a.parquet")
    data = HuggingFace(str(tmp_path / "a.parquet"), image="pic", label="kind").load(0)
    assert data.class_names == ("a", "b")
    row = int(data.train.names[0].split()[1])
    np.testing.assert_array_equal(data.train.images[0], pixels_of(row))
    with pytest.raises(DataError, match=r"image column: cannot tell which.*pic \(binary\)"):
        HuggingFace(str(tmp_path / "a.parquet")).load(0)
    with pytest.raises(DataError, match="12 of 12 pictures cannot be read"):
        HuggingFace(str(tmp_path / "a.parquet"), image="kind", label="again").load(0)


def test_whole_numbers_as_labels_are_in_numeric_order(tmp_path):
    values = {"image": rows(12)["image"], "target": [10, 9, 2] * 4}
    features = datasets.Features({"image": datasets.Image(), "target": datasets.Value("int64")})
    datasets.Dataset.from_dict(values, features=features).save_to_disk(tmp_path / "data")
    data = HuggingFace(str(tmp_path / "data"), test_fraction=0.25).load(0)
    assert data.class_names == ("2", "9", "10")


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"test": "tset"}, "no split 'tset'. Did you mean 'test'"),
        ({}, {"image": "picture"}, r"there is no 'picture'.*Columns: image \(.*label \("),
        ({"test": make(3).rename_column("label", "other")}, {}, "test split has no columns"),
    ],
)
def test_wrong_splits_and_columns_are_named(tmp_path, change, options, message):
    splits(**change).save_to_disk(tmp_path / "data")
    with pytest.raises(DataError, match=message):
        HuggingFace(str(tmp_path / "data"), **options).load(0)


def test_an_empty_split_is_named(monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: splits(test=make(0)))
    with pytest.raises(DataError, match="split 'test' of a/b is empty"):
        HuggingFace("a/b").load(0)


def test_labels_and_images_of_the_wrong_kind_are_named(tmp_path):
    table = datasets.Dataset.from_dict({"pic": [1, 2, 3], "label": [0.5, 1.5, 0.5]})
    table.save_to_disk(tmp_path / "numbers")
    with pytest.raises(DataError, match="'pic' is int64 and holds no pictures"):
        HuggingFace(str(tmp_path / "numbers"), image="pic").load(0)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("float32")})
    make(6).cast(features).save_to_disk(tmp_path / "floats")
    with pytest.raises(DataError, match="'label' is float32; read are class labels"):
        HuggingFace(str(tmp_path / "floats")).load(0)


def test_a_class_that_training_lacks_is_named(tmp_path):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    changed = splits().cast(features)
    changed["test"] = changed["test"].map(lambda row: {"label": "3"})
    changed.save_to_disk(tmp_path / "data")
    with pytest.raises(DataError, match="test split has the class '3'"):
        HuggingFace(str(tmp_path / "data")).load(0)


def test_images_without_a_label_are_named(tmp_path):
    unlabelled = datasets.Dataset.from_dict(
        {"image": rows(3)["image"], "label": [-1, -1, -1]}, features=datasets.Features(FEATURES)
    )
    splits(test=unlabelled).save_to_disk(tmp_path / "data")
    with pytest.raises(DataError, match="3 of 3 images of the test split have no label"):
        HuggingFace(str(tmp_path / "data")).load(0)


def test_splits_with_other_classes_are_refused(tmp_path):
    other = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["x", "y", "z"])}
    splits(test=make(6, features=other)).save_to_disk(tmp_path / "data")
    with pytest.raises(DataError, match="differ in the classes"):
        HuggingFace(str(tmp_path / "data")).load(0)


def test_unusual_and_broken_pictures_are_handled(tmp_path):
    broken = {"bytes": b"no picture", "path": None}
    grey = io.BytesIO()
    Image.new("L", (5, 5), 7).save(grey, "PNG")
    table = datasets.Dataset.from_dict(
        {"image": [*rows(12)["image"], broken, {"bytes": grey.getvalue(), "path": None}],
         "label": [*rows(12)["label"], 0, 1]},
        features=datasets.Features(FEATURES),
    )  # fmt: skip
    table.save_to_disk(tmp_path / "data")
    with pytest.raises(DataError, match=r"(?s)1 of 14 pictures.*train 12: .*broken = 'skip'"):
        HuggingFace(str(tmp_path / "data")).load(0)
    data = HuggingFace(str(tmp_path / "data"), broken="skip", test_fraction=0.3).load(0)
    assert len(data.train) + len(data.test) == 13
    assert [(note.name, note.kinds[0]) for note in data.pictures] == [
        ("train 12", "broken"),
        ("train 13", "greyscale"),
    ]


def test_the_fingerprint_sees_contents_and_leakage_is_found(tmp_path):
    splits(test=make(6, 3)).save_to_disk(tmp_path / "data")
    data = HuggingFace(str(tmp_path / "data")).load(0)
    again = HuggingFace(str(tmp_path / "data")).load(0)
    assert data.train.images.fingerprint() == again.train.images.fingerprint()
    assert data.train.images.fingerprint() != data.test.images.fingerprint()
    train, test = (Subset(item, np.arange(len(item))) for item in (data.train, data.test))
    assert find_leakage(train, test, test).counts["test"] == 6


def test_a_name_that_needs_the_internet_gives_one_error_at_once():
    with pytest.raises(DataError, match=r"(?s)Cannot load .*no internet.*set \[dataset\] path"):
        HuggingFace("some/where").load(0)
    assert not datasets.config.HF_HUB_OFFLINE


def test_other_files_and_damaged_folders_are_named(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n")
    with pytest.raises(DataError, match=r"name = 'csv'"):
        HuggingFace(str(tmp_path / "a.csv")).load(0)
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"cannot read .*a\.parquet"):
        HuggingFace(str(tmp_path / "a.parquet")).load(0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"cannot read .*empty"):
        HuggingFace(str(tmp_path / "empty")).load(0)
    splits().save_to_disk(tmp_path / "data")
    state = tmp_path / "data" / "train" / "state.json"
    state.write_text(json.dumps({"_data_files": []}))
    with pytest.raises(DataError, match="cannot read"):
        HuggingFace(str(tmp_path / "data")).load(0)


def test_it_is_found_by_its_entry_point_and_trains(tmp_path):
    splits(train=make(90)).save_to_disk(tmp_path / "data")
    result = Trainer(
        backbone={"name": "mobilenet_v2", "alpha": 0.35, "weights": "cifar10", "image_size": 32},
        head="linear",
        dataset={"name": "huggingface", "path": str(tmp_path / "data")},
        workflow={"name": "freeze_and_train", "epochs": 1},
        reporters=[],
        runs=tmp_path / "runs",
    ).run()
    assert result.info.class_names == tuple(CLASSES)
    assert result.info.num_test == 6


def test_a_missing_library_ends_the_run_with_the_pip_command(monkeypatch, tmp_path):
    monkeypatch.setattr(HuggingFace, "modules", ("no_such_module",))
    with pytest.raises(PluginError, match="pip install tlkit-huggingface"):
        Trainer(
            dataset={"name": "huggingface", "path": str(tmp_path)}, reporters=[], runs=None
        ).run()


def test_listing_plugins_does_not_import_the_library():
    import subprocess
    import sys

    code = (
        "import sys; from tlkit import Registry; Registry().get('dataset', 'huggingface'); "
        "assert 'datasets' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_options_of_a_config_are_checked():
    options = {"path": "a/b", "revision": "main", "broken": "skip", "test": "test"}
    assert validate_options(HuggingFace, options, where="a file") == options
    assert Registry().get("dataset", "huggingface") is HuggingFace
    assert Path(module.__file__).parent.joinpath("py.typed").exists()


@pytest.mark.parametrize("how", ["absolute", "dots", "link"])
def test_a_table_that_names_files_of_the_machine_is_refused(tmp_path, how):
    folder, secret = tmp_path / "data", tmp_path / "secret\x1b.png"
    folder.mkdir()
    Image.new("RGB", (3, 3)).save(secret)
    inside = folder / "inside.png"
    Image.new("RGB", (3, 3)).save(inside)
    (folder / "link.png").symlink_to(secret)
    names = {
        "absolute": secret,
        "dots": folder / ".." / secret.name,
        "link": folder / "link.png",
    }
    path = folder / "t.parquet"
    features = datasets.Features({"image": datasets.Image(decode=False), **{
        "label": datasets.ClassLabel(names=CLASSES)}})  # fmt: skip

    def make_table(last):
        cells = [{"bytes": None, "path": str(inside)}] * 29 + [{"bytes": None, "path": str(last)}]
        labels = [number % 3 for number in range(30)]
        table = datasets.Dataset.from_dict({"image": cells, "label": labels}, features=features)
        table.to_parquet(path)

    make_table(inside)
    assert len(HuggingFace(str(path)).load(0).train) == 24
    make_table(names[how])
    with pytest.raises(DataError, match=r"Row 29 .*lies outside of .*data\.") as caught:
        HuggingFace(str(path)).load(0)
    assert "\x1b" not in str(caught.value)


def test_it_conforms(tmp_path):
    splits().save_to_disk(tmp_path / "data")
    outcomes = run_checks(lambda: HuggingFace(str(tmp_path / "data")))
    assert {item.check: item.reason for item in outcomes if item.status != "passed"} == {}
