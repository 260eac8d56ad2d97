import dataclasses

import numpy as np
import pytest

from tests.builtin.reporters.conftest import make_result
from tlkit import TestTimeAugmentation


def test_settings_are_the_config_in_one_level():
    info = make_result(
        config={
            "run": {"save": ["keras", "h5"], "seed": 3, "validation": 0.1},
            "dataset": {"name": "arrays", "path": None, "x": np.zeros(3)},
            "workflow": {"class_weight": {"cät": 2.0}},
            "reporters": [{"name": "rich"}],
        }
    ).info
    assert info.settings == {
        "run.save": '["keras", "h5"]',
        "run.seed": 3,
        "run.validation": 0.1,
        "dataset.name": "arrays",
        "dataset.x": '"<ndarray>"',
        "workflow.class_weight": '{"cät": 2.0}',
    }


@pytest.mark.parametrize(
    ("table", "number", "words"),
    [
        (None, 1, ""),
        ({"mirror": False, "scales": []}, 1, ""),
        ({"mirror": True, "scales": []}, 2, "2 views: the image and its mirror image"),
        ({"mirror": False, "scales": [0.8]}, 2, "2 views: the image and scale 0.8"),
        (
            {"mirror": True, "scales": [0.8, 1.25]},
            6,
            "6 views: the image, scale 0.8 and scale 1.25, each also mirrored",
        ),
    ],
)
def test_what_a_model_looks_at(table, number, words):
    config = {} if table is None else {"test_time_augmentation": table}
    info = make_result(config=config).info
    assert (info.num_looks, info.looks) == (number, words)
    if table is not None:
        assert len(TestTimeAugmentation(**table).views) == number


def test_the_most_confident_mistakes_come_first():
    test = make_result().test
    found = test.confident_mistakes
    wrong = test.predictions != test.labels
    assert len(found) == wrong.sum() > 5
    assert wrong[found].all()
    assert (np.diff(test.probabilities.max(axis=1)[found]) <= 0).all()


def test_the_least_certain_images_come_first():
    test = make_result().test
    assert sorted(test.least_certain.tolist()) == list(range(len(test.labels)))
    assert (np.diff(test.probabilities.max(axis=1)[test.least_certain]) >= 0).all()


def test_confusions_are_the_largest_numbers_beside_the_diagonal():
    matrix = np.array([[9, 0, 3], [4, 9, 0], [3, 1, 9]])
    test = dataclasses.replace(make_result().test, confusion_matrix=matrix)
    assert test.confusions(9) == [(1, 0, 4), (0, 2, 3), (2, 0, 3), (2, 1, 1)]
    assert test.confusions(2) == [(1, 0, 4), (0, 2, 3)]
    assert test.confusions(0) == []
    assert matrix[0, 0] == 9


def test_the_figures_of_a_phase_are_those_of_the_weights_that_it_ended_with():
    phase = make_result().phases[0]
    history = {"loss": [3.0, 2.0, 1.0], "val_loss": [0.5, 0.7]}
    phase = dataclasses.replace(phase, history=history, kept_epoch=None)
    assert phase.num_epochs == 3
    assert phase.figures() == {"loss": 1.0}
    assert phase.figures(2) == {"loss": 2.0, "val_loss": 0.7}
    assert dataclasses.replace(phase, kept_epoch=1).figures() == {"loss": 3.0, "val_loss": 0.5}
    empty = dataclasses.replace(phase, history={})
    assert (empty.num_epochs, empty.figures()) == (0, {})


def test_scalars_are_the_figures_that_are_known():
    test = make_result().test
    found = test.scalars
    assert found["accuracy"] == test.accuracy
    assert (found["accuracy_low"], found["accuracy_high"]) == test.accuracy_interval
    assert found["calibration_error"] == test.calibration.saved.expected_calibration_error
    before = dataclasses.replace(
        test, accuracy_interval=None, calibration=None, top_5=None, balanced_accuracy=None
    )
    assert set(before.scalars) == {"accuracy", "loss", "macro_f1"}
