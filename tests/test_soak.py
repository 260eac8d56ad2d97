"""Many runs and many predictions in one process: right answers, and nothing that stays behind.

Resident memory moves by tens of megabytes with what else the process does, so here the objects that
hold it are counted; `python tests/benchmarks/soak.py` draws the memory itself.
"""

import gc
import importlib.util
import sys
from collections import Counter
from pathlib import Path

import pytest

PATH = Path(__file__).parent / "benchmarks" / "soak.py"
FINE_TUNED = (
    *("backbone.image_size=32", "workflow.epochs=2", "workflow.fine_tune_epochs=1"),
    "workflow.unfreeze=2",
)


@pytest.fixture(scope="module")
def soak():
    spec = importlib.util.spec_from_file_location("soak", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["soak"] = module
    spec.loader.exec_module(module)
    return module


def live_objects() -> Counter[str]:
    """Count the traced graphs, models and variables that something still holds."""
    import keras
    import tensorflow as tf
    from tensorflow.python.framework.func_graph import FuncGraph

    kinds = (FuncGraph, keras.Model, keras.Variable, tf.Variable)
    gc.collect()
    found = Counter()
    for item in gc.get_objects():
        for kind in kinds:
            # Not isinstance(), which would ask proxies for a __class__ that they must make up.
            if issubclass(type(item), kind):
                found[kind.__name__] += 1
    return found


def test_growth_is_the_slope_of_the_second_half(soak):
    assert soak.growth([9, 9, 9, 9, 1, 2, 3, 4]) == pytest.approx(1)
    assert soak.growth([1, 2, 3, 4, 9, 9, 9, 9]) == pytest.approx(0)


@pytest.mark.slow
def test_runs_leave_nothing_behind(soak, tmp_path):
    counts = []
    soak.soak_runs(
        2, tmp_path, list(FINE_TUNED), lambda *_: counts.append(live_objects()), least_accuracy=0
    )
    # Other tests of this process may hold some; a run must add none.
    assert counts[1] <= counts[0], counts


@pytest.mark.slow
def test_predictions_of_good_and_bad_files_are_right_and_leave_nothing_behind(soak, tmp_path):
    soak.soak_runs(1, tmp_path, ["backbone.image_size=32", "workflow.epochs=8"], lambda *_: None)
    run = next((tmp_path / "runs").iterdir())
    cases = soak.make_cases(tmp_path / "files")
    soak.soak_predictions(2, run, cases, 2)
    before = live_objects()
    soak.soak_predictions(8, run, cases, 8)
    assert live_objects() <= before
