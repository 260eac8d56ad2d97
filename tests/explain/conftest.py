import pytest

from tests.explain.squares import Squares
from tests.tiny import TinyBackbone
from tlkit import Trainer
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain


@pytest.fixture(scope="session")
def squares_run(tmp_path_factory):
    """A small network, trained as a whole on pictures that one square decides."""
    workflow = FreezeAndTrain(
        10,
        learning_rate=1e-2,
        fine_tune_epochs=30,
        fine_tune_learning_rate=1e-2,
        augment=False,
    )
    folder = tmp_path_factory.mktemp("squares")
    return Trainer(TinyBackbone(32), "linear", Squares(), workflow, [], runs=folder).run()


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory):
    """A run with mistakes whose dataset and backbone are registered ones."""
    backbone = {
        "name": "mobilenet_v2", "alpha": 0.35, "weights": "cifar10", "image_size": 64
    }  # fmt: skip
    return Trainer(
        backbone, "linear", "digits", FreezeAndTrain(1), [], runs=tmp_path_factory.mktemp("digits")
    ).run()
