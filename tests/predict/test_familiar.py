import json

import numpy as np
import pytest
from PIL import Image

from tests.tiny import make_images
from tlkit import ConfigError, DataError, Registry, RunFolderError, Trainer, load_run
from tlkit.predict import familiar
from tlkit.predict.familiar import FILE, learn_familiarity, load_familiarity


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on a folder of pictures, which can be loaded again."""
    folder = tmp_path_factory.mktemp("familiar")
    images, labels = make_images(120, seed=1)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / "data" / "abc"[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.png")
    backbone = {"name": "mobilenet_v2", "alpha": 0.35, "image_size": 32, "weights": "random"}
    return Trainer(
        backbone,
        "linear",
        {"name": "folder", "path": str(folder / "data"), "test_fraction": 0.2},
        {"name": "freeze_and_train", "epochs": 1},
        [],
        runs=folder / "runs",
        registry=Registry(entry_points=False),
    ).run()


def test_noise_is_flagged_and_test_pictures_are_not(run, tlkit_command, tmp_path):
    generator = np.random.default_rng(0)
    (tmp_path / "good").mkdir()
    (tmp_path / "noise").mkdir()
    for number in range(8):
        image = make_images(8, seed=9)[0][number]
        Image.fromarray(image).save(tmp_path / "good" / f"{number}.png")
        stripes = np.repeat(generator.integers(0, 2, (1, 12, 1)) * 255, 12, 0).repeat(3, 2)
        Image.fromarray(stripes.astype(np.uint8)).save(tmp_path / "noise" / f"{number}.png")
    (run.folder / FILE).unlink(missing_ok=True)
    arguments = ("predict", run.folder, "good", "noise", "--flag-unfamiliar")
    code, out, err = tlkit_command(*arguments)
    assert code == 0
    assert err.startswith("Looking at training images")
    assert (run.folder / FILE).stat().st_size < 4e6
    shown = out.splitlines()
    code, out, err = tlkit_command(*arguments, "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    flags = [item["unfamiliar"] for item in document["predictions"]]
    assert flags[8:] == [True] * 8
    assert sum(flags[:8]) <= 1
    assert document["unfamiliar"] == sum(flags)
    assert [item["distance"] > 1 for item in document["predictions"]] == flags
    assert ["unfamiliar (distance " in line for line in shown] == flags


def test_what_is_learned_reads_back(run):
    learned = learn_familiarity(run)
    found = load_familiarity(load_run(run.folder))
    assert found.layers == learned.layers
    assert found.limit == learned.limit
    np.testing.assert_array_equal(found.precision, learned.precision)
    features = np.random.default_rng(0).normal(size=(3, len(found.mean))).astype(np.float32)
    np.testing.assert_array_equal(found.distances(features), learned.distances(features))


def test_a_damaged_file_says_what_to_do(run):
    (run.folder / FILE).write_bytes(b"no zip")
    with pytest.raises(RunFolderError, match=r"is damaged: .* Delete it"):
        load_familiarity(run)
    np.savez(run.folder / FILE, layers=np.array(["a"]), mean=[0.0], precision=np.eye(2), limit=1.0)
    with pytest.raises(RunFolderError, match="of shapes"):
        load_familiarity(run)
    (run.folder / FILE).unlink()
    assert load_familiarity(run) is None


def test_without_the_data_or_inner_maps_one_error_says_so(run, monkeypatch):
    data = run.folder.parents[1] / "data"
    data.rename(data.with_name("moved"))
    try:
        with pytest.raises(DataError, match=r"(?s)training images of .* are needed.*leave out"):
            learn_familiarity(run)
    finally:
        data.with_name("moved").rename(data)
    monkeypatch.setattr(familiar, "inner_layers", lambda network: ())
    with pytest.raises(ConfigError, match="no maps of its inner layers"):
        learn_familiarity(run)
