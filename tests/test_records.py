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
