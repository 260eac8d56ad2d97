import pytest

from tlkit.errors import ConfigError, PluginError
from tlkit.sweep.records import Settings
from tlkit.sweep.searching import (
    SAMPLERS,
    check_settings,
    make_pruner,
    make_sampler,
    params_within,
    suggest,
    values_of,
)
from tlkit.sweep.space_file import make_space

optuna = pytest.importorskip("optuna")
SPACE = make_space(
    {
        "head.name": {"choice": ["dense", "linear"]},
        "head.units": {
            "type": "int",
            "low": 4,
            "high": 64,
            "log": True,
            "when": {"head.name": "dense"},
        },
        "head.sizes": {"choice": [[1, 2], [3]]},
        "head.dropout": {"type": "float", "low": 0.0, "high": 0.5},
    }
)
PLAIN = make_space(
    {
        "head.dropout": {"type": "float", "low": 0.0, "high": 0.5, "step": 0.25},
        "head.units": {"type": "int", "low": 1, "high": 4},
    }
)


def draw(settings, space, count, study=None):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = study or optuna.create_study(direction="maximize")
    for _ in range(count):
        study.sampler = make_sampler(settings, space)  # as a process that was started anew
        trial = study.ask()
        values = suggest(trial, space)
        study.tell(trial, values["head.dropout"])
        yield values


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_what_is_drawn_depends_on_the_seed_and_not_on_the_process(sampler):
    first = list(draw(Settings(sampler=sampler, seed=3), SPACE, 15))
    assert first == list(draw(Settings(sampler=sampler, seed=3), SPACE, 15))
    assert first != list(draw(Settings(sampler=sampler, seed=4), SPACE, 15))
    assert len({str(item) for item in first}) > 10
    for values in first:
        assert ("head.units" in values) == (values["head.name"] == "dense")
        assert values["head.sizes"] in ([1, 2], [3])
        assert isinstance(values.get("head.units", 4), int)


def test_the_grid_visits_each_place_once():
    found = list(draw(Settings(sampler="grid"), PLAIN, 12))
    assert len({str(item) for item in found}) == 12


def test_what_optuna_keeps_is_turned_back():
    study = optuna.create_study()
    values = suggest(study.ask(), SPACE)
    assert values_of(study.trials[0].params, SPACE) == values
    assert params_within(values, SPACE) == study.trials[0].params


@pytest.mark.parametrize(
    ("values", "inside"),
    [
        ({"head.dropout": 0.25, "head.units": 2}, True),
        ({"head.dropout": 0.3, "head.units": 2}, False),
        ({"head.dropout": 0.75, "head.units": 2}, False),
        ({"head.dropout": 0.25, "head.units": 2.0}, False),
        ({"head.dropout": 0.25, "head.units": True}, False),
        ({"head.dropout": 0.25}, False),
    ],
)
def test_the_default_is_in_the_space_or_not(values, inside):
    assert (params_within(values, PLAIN) is not None) == inside


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metric": "accuracy"}, "Did you mean 'val_accuracy'"),
        ({"metric": "test_accuracy"}, "val_accuracy, val_loss"),
        ({"sampler": "tpee"}, "Did you mean 'tpe'"),
        ({"pruner": "meridian"}, "Did you mean 'median'"),
        ({"trials": 0}, "1 to 100,000"),
        ({"seed": -1}, "4294967295"),
        ({"sampler": "grid"}, "needs all values of head.dropout"),
    ],
)
def test_a_setting_that_is_not_allowed_gets_one_error(changes, said):
    with pytest.raises(ConfigError, match=said):
        check_settings(Settings(**changes), SPACE)


def test_cma_es_says_what_it_needs():
    try:
        import cmaes  # noqa: F401
    except ImportError:
        with pytest.raises(PluginError, match="pip install cmaes"):
            check_settings(Settings(sampler="cma-es"), PLAIN)
    else:
        with pytest.raises(ConfigError, match="two or more numbers"):
            check_settings(Settings(sampler="cma-es"), SPACE)


def test_pruners_are_those_of_optuna():
    assert isinstance(make_pruner("median"), optuna.pruners.MedianPruner)
    assert isinstance(make_pruner("hyperband"), optuna.pruners.HyperbandPruner)
    assert isinstance(make_pruner("none"), optuna.pruners.NopPruner)
    assert "cma-es" in SAMPLERS
