"""Searching: Optuna's samplers and pruners by name, and the values that a trial gets."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.errors import ConfigError, did_you_mean
from tlkit.extras import require_modules
from tlkit.sweep.parameters import ChoiceParameter, IntParameter, Scalar, label
from tlkit.sweep.records import METRICS, Settings
from tlkit.sweep.space import Space

if TYPE_CHECKING:
    import optuna

EXTRA = "'tlkit[sweep]'"
SAMPLERS = ("tpe", "random", "qmc", "grid", "cma-es")
PRUNERS = ("none", "median", "successive-halving", "hyperband")
MAX_TRIALS = 100_000


def require_extra() -> None:
    """Import Optuna, and let it speak of errors only.

    Raises:
        PluginError: If it is not installed; the message says how to install it.
    """
    require_modules("tlkit sweep needs", ["optuna"], EXTRA)
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)


def check_settings(settings: Settings, space: Space) -> None:
    """Check names and numbers.

    Raises:
        ConfigError: If one is not allowed.
    """
    for what, value, allowed in (
        ("metric", settings.metric, tuple(METRICS)),
        ("sampler", settings.sampler, SAMPLERS),
        ("pruner", settings.pruner, PRUNERS),
    ):
        if value not in allowed:
            raise ConfigError(
                f"Unknown {what} '{value}'.{did_you_mean(value, allowed)}\n"
                f"Allowed: {', '.join(allowed)}."
            )
    if not 1 <= settings.trials <= MAX_TRIALS:
        raise ConfigError(f"{settings.trials} trials are not allowed: 1 to {MAX_TRIALS:,}.")
    if not 0 <= settings.seed < 2**32:
        raise ConfigError(f"The sampler's seed {settings.seed} is not allowed: 0 to 4294967295.")
    if settings.sampler == "grid" and (places := grid_size(space)) > MAX_TRIALS:
        raise ConfigError(
            f"The grid has {places:,} places; allowed: up to {MAX_TRIALS:,}. Give larger steps, or "
            f"take another sampler, such as 'tpe'."
        )
    if settings.sampler == "cma-es":
        require_modules("The sampler 'cma-es' needs", ["cmaes"], "cmaes")
        varied = [
            item for item in space.parameters.values() if not isinstance(item, ChoiceParameter)
        ]
        if len(varied) < 2 or space.conditional:
            raise ConfigError(
                "The sampler 'cma-es' is for two or more numbers without conditions: type = 'int' "
                "or 'float', and no 'when'. Take another one, such as 'tpe'."
            )


def make_sampler(settings: Settings, space: Space) -> optuna.samplers.BaseSampler:
    """Return the sampler.

    What it draws depends on the seed, the number of the trial and the trials before, and so neither
    on the process that asks nor on interrupts: a sampler that was made anew would draw the same
    numbers once more.
    """
    import optuna

    samplers = optuna.samplers
    if settings.sampler == "grid":
        return _grid(settings.seed, space)
    if settings.sampler == "qmc":
        with warnings.catch_warnings():  # that its interface may change
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return samplers.QMCSampler(
                seed=settings.seed,
                scramble=True,
                independent_sampler=_by_number(settings.seed, _random),
                warn_asynchronous_seeding=False,
                warn_independent_sampling=False,
            )
    if settings.sampler == "cma-es":
        return samplers.CmaEsSampler(
            seed=settings.seed,
            independent_sampler=_by_number(settings.seed, _random),
            warn_independent_sampling=False,
        )
    return _by_number(settings.seed, _random if settings.sampler == "random" else _tpe)


def _random(seed: int) -> optuna.samplers.BaseSampler:
    import optuna

    return optuna.samplers.RandomSampler(seed=seed)


def _tpe(seed: int) -> optuna.samplers.BaseSampler:
    import optuna

    # A liar takes the trials of other processes for bad ones, so that nobody draws beside them.
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


def _by_number(
    seed: int, make: Callable[[int], optuna.samplers.BaseSampler]
) -> optuna.samplers.BaseSampler:
    """Return a sampler that is made anew for each trial, with a seed of the trial's number."""
    import optuna

    class ByNumber(optuna.samplers.BaseSampler):  # type: ignore[misc]
        def __init__(self) -> None:
            self._number, self._sampler = -1, make(seed)

        def _of(self, trial: optuna.trial.FrozenTrial) -> optuna.samplers.BaseSampler:
            if trial.number != self._number:
                drawn = np.random.SeedSequence([seed, trial.number]).generate_state(1)[0]
                self._number, self._sampler = trial.number, make(int(drawn))
            return self._sampler

        def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
            return self._of(trial).infer_relative_search_space(study, trial)

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
            return self._of(trial).sample_relative(study, trial, search_space)

        def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
            return self._of(trial).sample_independent(study, trial, name, distribution)

        def before_trial(self, study: Any, trial: Any) -> None:
            self._of(trial).before_trial(study, trial)

        def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
            self._of(trial).after_trial(study, trial, state, values)

    return ByNumber()


def grid_size(space: Space) -> int:
    """Return how many places a grid over a space has.

    Raises:
        ConfigError: If the space has no grid.
    """
    return math.prod(map(len, space.grid().values()))


def _grid(seed: int, space: Space) -> optuna.samplers.BaseSampler:
    """Return a sampler that visits each place of the grid once, in an order of the seed.

    Optuna's own takes a place whose trial was killed for visited, and wants to end the study.
    """
    import optuna

    grid = space.grid()
    sizes = [len(values) for values in grid.values()]
    order = np.random.default_rng(seed).permutation(math.prod(sizes))

    class Grid(optuna.samplers.RandomSampler):  # type: ignore[misc]
        def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
            # Trials that were asked for again have their values from before.
            rank = sum(
                item.number < trial.number and "fixed_params" not in item.system_attrs
                for item in study.get_trials(deepcopy=False)
            )
            places = np.unravel_index(order[rank % len(order)], sizes)
            return grid[name][int(places[list(grid).index(name)])]

    return Grid(seed=seed)


def make_pruner(name: str) -> optuna.pruners.BasePruner:
    """Return the pruner; its steps are epochs."""
    import optuna

    pruners = optuna.pruners
    made: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
        "none": pruners.NopPruner,
        "median": lambda: pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1),
        "successive-halving": pruners.SuccessiveHalvingPruner,
        "hyperband": pruners.HyperbandPruner,
    }
    return made[name]()


def suggest(trial: optuna.trial.Trial, space: Space) -> dict[str, Any]:
    """Return what a trial sets, by key of the config."""
    chosen: dict[str, Any] = {}
    for key, item in space.parameters.items():
        if not space.active(key, chosen):
            continue
        if isinstance(item, ChoiceParameter):
            by_label = {label(value): value for value in item.choice}
            chosen[key] = by_label[trial.suggest_categorical(key, list(by_label))]
        elif isinstance(item, IntParameter):
            step = item.step if item.step is not None else 1
            chosen[key] = int(trial.suggest_int(key, item.low, item.high, step=step, log=item.log))
        else:
            chosen[key] = float(
                trial.suggest_float(key, item.low, item.high, step=item.step, log=item.log)
            )
    return chosen


def values_of(params: Mapping[str, Scalar], space: Space) -> dict[str, Any]:
    """Return a trial's values of the config from what Optuna keeps of it."""
    found: dict[str, Any] = {}
    for key, item in space.parameters.items():
        if key in params:
            value: Any = params[key]
            if isinstance(item, ChoiceParameter):
                value = {label(choice): choice for choice in item.choice}.get(value, value)
            found[key] = value
    return found


def params_within(values: Mapping[str, Any], space: Space) -> dict[str, Scalar] | None:
    """Return what Optuna would keep of a trial with these values; None if the space has it not.

    Args:
        values: By key of the config; more keys than the space has are passed over.
        space: The space.
    """
    chosen: dict[str, Any] = {}
    for key, item in space.parameters.items():
        if not space.active(key, chosen):
            continue
        if key not in values or not _contains(item, values[key]):
            return None
        chosen[key] = values[key]
    return {key: label(value) for key, value in chosen.items()}


def _contains(item: Any, value: Any) -> bool:
    if isinstance(item, ChoiceParameter):
        return any(
            label(value) == label(choice) and type(label(value)) is type(label(choice))
            for choice in item.choice
        )
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if isinstance(item, IntParameter) and not isinstance(value, int):
        return False
    if not item.low <= value <= item.high:
        return False
    if item.step is None:
        return True
    steps = (value - item.low) / item.step
    return bool(abs(steps - round(steps)) < 1e-9)
