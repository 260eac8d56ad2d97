"""Disks that are full or read-only, and pictures that vanish: one error each, and nothing lost."""

import subprocess

import numpy as np
import pytest
from PIL import Image

from tests.tiny import Colours, make_images, make_tiny_trainer
from tlkit import DataError, Reporter, RunFolderError, load_run
from tlkit.atomic import UNFINISHED
from tlkit.builtin.datasets.folder import Folder as Folder
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain
from tlkit.feature_filling import FEATURES
from tlkit.features import FeatureStore


def mount(*arguments):
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True, check=False)


@pytest.fixture
def disk(tmp_path):
    """A disk of 40 kB, and a function that mounts it anew with other options."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        found = mount("-t", "tmpfs", "-o", "size=40k", "tmpfs", folder)
    except OSError:
        pytest.skip("needs the command mount")
    if found.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {found.stderr.decode().strip()}")
    yield folder, lambda options: mount("-o", f"remount,{options}", folder)
    # Lazily: stored features may still be mapped into memory.
    subprocess.run(["umount", "-l", str(folder)], check=True)


def make_trainer(tmp_path, **changes):
    defaults = {
        "dataset": Colours(900),
        "workflow": FreezeAndTrain(epochs=3, learning_rate=1e-2),
    }
    return make_tiny_trainer(tmp_path, **(defaults | changes))


def test_a_full_disk_under_the_feature_store_is_named_and_the_next_run_goes_on(tmp_path, disk):
    folder, remount = disk
    store = FeatureStore(folder / "features")
    with pytest.raises(
        DataError, match=r"Cannot keep features in .*No space left on device"
    ) as error:
        make_trainer(tmp_path, store=store).run()
    (run,) = (tmp_path / "runs").iterdir()
    (note,) = error.value.__notes__
    assert note.endswith(f"tlkit resume {run}")
    assert not list(folder.rglob(FEATURES))
    remount("size=10m")
    result = make_trainer(tmp_path, store=store).resume(run)
    assert not result.warnings
    expected = make_trainer(tmp_path).run()
    assert result.test.loss == expected.test.loss


def test_a_full_disk_under_the_run_folder_is_named_and_the_run_can_be_resumed(tmp_path, disk):
    folder, remount = disk
    with pytest.raises(RunFolderError, match=r"No space left on device.*tlkit resume"):
        make_trainer(tmp_path, runs=folder).run()
    (run,) = folder.iterdir()
    assert not list(run.rglob(f"{UNFINISHED}*"))
    remount("size=10m")
    result = make_trainer(tmp_path, runs=folder).resume(run)
    assert load_run(run).test.loss == result.test.loss
    assert result.test.loss == make_trainer(tmp_path).run().test.loss


def test_read_only_folders_are_named_and_whole_features_in_them_are_used(tmp_path, disk):
    folder, remount = disk
    remount("size=10m")
    store = FeatureStore(folder / "features")
    make_trainer(tmp_path, store=store).run()
    assert not mount("-o", "remount,ro", folder).returncode
    result = make_trainer(tmp_path, store=store).run()
    assert set(result.feature_cache.values()) == {"stored"}
    with pytest.raises(DataError, match=r"Cannot keep features in .*Read-only file system"):
        make_trainer(tmp_path, store=store, dataset=Colours(600)).run()
    with pytest.raises(RunFolderError, match=r"Cannot make the run folder .*Read-only file system"):
        make_trainer(tmp_path, runs=folder / "runs").run()


class Vanish(Reporter):
    """Hides a file as soon as the run has begun, and so after the pictures were looked through."""

    def __init__(self, path):
        self.path = path

    def on_run_begin(self, run, **kwargs):
        self.path.rename(self.path.with_suffix(".gone"))


def test_a_picture_that_vanishes_is_named_and_the_run_goes_on_when_it_is_back(tmp_path):
    images, labels = make_images(90, 1)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = tmp_path / "data" / "train" / f"class {label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number:03}.png")
    gone = tmp_path / "data" / "train" / "class 1" / "040.png"
    trainer = make_trainer(tmp_path, dataset=Folder(str(tmp_path / "data")))
    trainer.listeners = [Vanish(gone)]
    with pytest.raises(DataError, match=r"040\.png: No such file or directory") as caught:
        trainer.run()
    # Files are read once for the fingerprint and the search for leakage, and had been there then.
    (folder,) = trainer.runs.iterdir()
    assert caught.value.__notes__[-1].endswith(f"tlkit resume {folder}")
    gone.with_suffix(".gone").rename(gone)
    result = make_trainer(tmp_path, dataset=Folder(str(tmp_path / "data"))).resume(folder)
    assert np.isfinite(result.test.loss)
