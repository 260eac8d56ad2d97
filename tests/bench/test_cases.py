import subprocess
import sys
from importlib.util import find_spec

import pytest

from tlkit.bench.cases import CASES, NAMES, START_UP, UNITS, Variant
from tlkit.config.reading import override, read


def tables(arguments):
    recipe, *rest = arguments
    found, _ = read(recipe)
    assert rest[::2] == ["--set"] * (len(rest) // 2)
    for assignment in rest[1::2]:
        override(found, assignment)
    return found


def option(arguments, name):
    return arguments[arguments.index(name) + 1]


def test_the_names():
    assert NAMES == ("classic", "pixels-96", "five-heads", "start-up")
    assert START_UP.limit == 0.4


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_both_sides_do_the_same_job(case):
    units = case.plain[case.plain.index("--units") + 1 :]
    for variant in case.variants:
        runs = [tables(run) for run in variant.runs]
        assert [str(run["head"]["units"]) for run in runs] == list(units)
        for run in runs:
            assert run["head"]["name"] == "dense"
            assert run["head"]["dropout"] == 0.3
            assert str(run["backbone"]["image_size"]) == option(case.plain, "--image-size")
            assert str(run["workflow"]["epochs"]) == option(case.plain, "--epochs")
            assert str(run["workflow"]["batch_size"]) == option(case.plain, "--batch-size")
            assert run["run"]["validation"] == "test"
            assert run["run"]["save"] == ["keras", "h5"]
            assert run["dataset"]["name"] == "cifar10"


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_a_cache_is_filled_before_it_is_used_by_the_very_same_runs(case):
    before = {}
    for variant in case.variants:
        if variant.cache_of is not None:
            assert before[variant.cache_of].runs == variant.runs
            assert before[variant.cache_of].cache_of is None
        before[variant.name] = variant


def test_the_goals():
    goals = {(case.name, item.name): item.goal for case in CASES.values() for item in case.variants}
    assert goals == {
        ("classic", "cold"): 12,
        ("classic", "warm"): 50,
        ("pixels-96", "cold, tensorflow"): 5,
        ("pixels-96", "cold, openvino"): 10,
        ("pixels-96", "warm"): None,
        ("five-heads", "cold"): 30,
    }
    assert len(UNITS) == len(CASES["five-heads"].variants[0].runs) == 5


def test_a_variant_says_which_package_it_lacks():
    assert Variant("x", ()).missing() is None
    assert Variant("x", (), needs="json").missing() is None
    assert "no_such_module" in Variant("x", (), needs="no_such_module").missing()
    openvino = CASES["pixels-96"].variants[1]
    assert (openvino.missing() is None) == (find_spec("openvino") is not None)


def test_the_package_imports_no_tensorflow():
    code = "import sys, tlkit.bench; print('tensorflow' in sys.modules or 'keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
