"""Many runs and many predictions in one process: right answers, and memory that stays flat."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parent / "benchmarks" / "soak.py"
FINE_TUNED = (
    *("backbone.image_size=32", "workflow.epochs=8", "workflow.fine_tune_epochs=1"),
    "workflow.unfreeze=2",
)


@pytest.fixture(scope="module")
def soak():
    spec = importlib.util.spec_from_file_location("soak", PATH)
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["soak"] = module
    spec.loader.exec_module(module)
    return module


def test_growth_is_the_slope_of_the_second_half(soak):
    assert soak.growth([9, 9, 9, 9, 1, 2, 3, 4]) == pytest.approx(1)
    assert soak.growth([1, 2, 3, 4, 9, 9, 9, 9]) == pytest.approx(0)


@pytest.mark.slow
def test_runs_do_not_grow(soak, tmp_path):
    # A model of this size kept from each run would add 10 MiB, a traced graph 18.
    sizes = soak.soak_runs(12, tmp_path, list(FINE_TUNED), lambda *_: None)
    assert soak.growth(sizes) < 8 * soak.MEBIBYTE, [size // soak.MEBIBYTE for size in sizes]


@pytest.mark.slow
def test_predictions_of_good_and_bad_files_are_right_and_do_not_grow(soak, tmp_path):
    soak.soak_runs(1, tmp_path, ["backbone.image_size=32", "workflow.epochs=8"], lambda *_: None)
    run = next((tmp_path / "runs").iterdir())
    cases = soak.make_cases(tmp_path / "files")
    sizes = soak.soak_predictions(24, run, cases, 2)
    assert soak.growth(sizes) < 8 * soak.MEBIBYTE, [size // soak.MEBIBYTE for size in sizes]
