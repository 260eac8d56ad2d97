"""A whole run, and the saved model in a fresh process."""

import subprocess
import sys

import keras_hub
import numpy as np
import pytest
from PIL import Image
from tiny_networks import make
from tlkit_kerashub.backbone import KerasHub

from tlkit import DatasetSource, ImageData, Split, Trainer, load_run


class Colours(DatasetSource):
    name = "colours"

    def load(self, seed):
        def split(count):
            labels = np.arange(count) % 3
            images = np.random.default_rng(count).integers(0, 120, (count, 12, 12, 3))
            images[np.arange(count), :, :, labels] += 100
            return Split(images.astype(np.uint8), labels.astype(np.int64))

        return ImageData(split(90), split(30), ("red", "green", "blue"))


@pytest.mark.parametrize("name", ["ViT", "HGNetV2"])
def test_training_fine_tuning_and_predicting(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "preset"
    make(f"{name}Backbone").save_to_preset(folder)
    made = getattr(keras_hub.layers, f"{name}ImageConverter")
    made(image_size=(32, 32), scale=1 / 127.5, offset=-1.0).save_to_preset(folder)
    result = Trainer(
        backbone=KerasHub(preset=str(folder)),
        head="linear",
        dataset=Colours(),
        workflow={
            "name": "freeze_and_train",
            "epochs": 10,
            "learning_rate": 0.05,
            "fine_tune_epochs": 1,
            "unfreeze": 2,
        },
        reporters=[],
        engine="tensorflow",
        runs=tmp_path / "runs",
    ).run()
    assert [phase.phase.name for phase in result.phases] == ["frozen", "fine-tune"]
    assert result.phases[1].phase.trainable_parameters > result.phases[0].phase.trainable_parameters
    if name == "ViT":  # the features of the tiny HGNetV2 are too faint
        assert result.test.accuracy > 0.8
    assert load_run(result.folder).info.config["backbone"]["preset"] == str(folder)

    if name == "ViT":
        keras_alone_reads_the_model(result, tmp_path)
    else:
        the_command_predicts(result, tmp_path)


def the_command_predicts(result, tmp_path):
    picture = tmp_path / "red.png"
    pixels = np.full((20, 20, 3), 60, np.uint8)
    pixels[..., 0] = 160
    Image.fromarray(pixels).save(picture)
    command = [sys.executable, "-m", "tlkit", "predict", str(result.folder), str(picture)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert any(colour in done.stdout.split(str(picture))[1] for colour in ("red", "green", "blue"))


def keras_alone_reads_the_model(result, tmp_path):
    # It imports keras_hub by the names in it.
    images, answers = tmp_path / "images.npy", tmp_path / "answers.npy"
    np.save(images, result.test_images)
    code = f"""
import sys, keras, numpy as np
assert "keras_hub" not in sys.modules
model = keras.models.load_model({str(result.folder / "model.keras")!r}, compile=False)
np.save({str(answers)!r}, model.predict(np.load({str(images)!r}), verbose=0))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(answers), result.test.probabilities, atol=1e-4)
