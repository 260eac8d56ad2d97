"""A small run that is exported, and its test pictures."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.tiny import TinyBackbone
from tlkit import DatasetSource, ImageData, Split, Trainer
from tlkit.builtin.heads.dense import Dense
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain
from tlkit.export.format import Source
from tlkit.model import assemble
from tlkit.test_time_augmentation import TestTimeAugmentation

SIZE = 16
# Smaller than the backbone's size, equal to it, larger, and uneven.
SIZES = ((7, 9), (16, 16), (40, 33), (61, 12))


def make_model(views=None, interpolation="bilinear"):
    """A network with random weights whose answers depend on the pixels."""
    import keras

    keras.utils.set_random_seed(7)
    backbone = TinyBackbone(SIZE)
    backbone.interpolation = interpolation
    looks = {} if views is None else {"views": views.views}
    parts = assemble(backbone, Dense(8, dropout=0.5), 3, **looks)
    last = parts.head.layers[-1]
    last.kernel.assign(last.kernel.numpy() * 40)
    last.bias.assign(-answers(parts.logits, pictures((16, 16), 50, 3)).mean(axis=0))
    return parts.model


def answers(model, pixels):
    return model(pixels.astype("float32"), training=False).numpy()


def pictures(size, count=3, seed=0):
    """Pictures of one colour each, with noise."""
    generator = np.random.default_rng(seed)
    colours = generator.uniform(0, 255, (count, 1, 1, 3))
    noise = generator.uniform(0, 255, (count, *size, 3))
    return (0.6 * colours + 0.4 * noise).astype(np.uint8)


@pytest.fixture(scope="session")
def model():
    return make_model()


@pytest.fixture(scope="session")
def source(model):
    return Source(model, None, list(pictures((24, 20), 40, 1)))


@pytest.fixture(scope="session")
def augmented():
    """The model that averages the image, its mirror image, and a view from near and from far."""
    return make_model(TestTimeAugmentation(mirror=True, scales=(0.75, 1.25)))


class Shades(DatasetSource):
    """Small noisy pictures of two sizes in three colours."""

    name = "shades"

    def load(self, seed):
        def split(count, seed):
            generator = np.random.default_rng(seed)
            labels = np.arange(count) % 3
            images = []
            for number, label in enumerate(labels):
                size = (12, 12) if number % 2 else (20, 14)
                image = generator.integers(0, 120, (*size, 3))
                image[..., label] += 100
                images.append(image.astype(np.uint8))
            return Split(images, labels.astype(np.int64))

        return ImageData(split(60, 1), split(24, 2), ("red", "green", "blue"))


def train(dataset, folder, epochs=15):
    return Trainer(
        TinyBackbone(SIZE),
        Dense(8),
        dataset,
        FreezeAndTrain(epochs, learning_rate=1e-2),
        [],
        runs=folder,
    ).run()


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory):
    """A run whose dataset is a registered one, so that its config alone finds the images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        return train("digits", tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def mobile_run(tmp_path_factory):
    """The folder of a run of MobileNetV2 with the weights that ship inside tlkit."""
    backbone = {
        "name": "mobilenet_v2", "alpha": 0.35, "weights": "cifar10", "image_size": 48
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        runs = tmp_path_factory.mktemp("mobile")
        return (
            Trainer(backbone, "logistic", "digits", "freeze_and_train", [], runs=runs).run().folder
        )


@pytest.fixture
def shades_run(tmp_path):
    dataset = Shades()
    return SimpleNamespace(folder=train(dataset, tmp_path / "runs").folder, dataset=dataset)
