import numpy as np

from tests.builtin.reporters.conftest import make_result


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
