"""Importance: which keys of the space the metric depends on, as far as the trials tell."""

from __future__ import annotations

from tlkit.sweep.records import Importance, Trial
from tlkit.sweep.space import Space
from tlkit.sweep.study import SweepStudy

LEAST_TRIALS = 10
_NAME = "fANOVA"


def importance_of(study: SweepStudy, space: Space, trials: tuple[Trial, ...]) -> Importance:
    """Estimate by functional ANOVA how much of the metric's variance goes with each key.

    F. Hutter, H. Hoos, K. Leyton-Brown (2014), An efficient approach for assessing hyperparameter
    importance, ICML: a forest of regression trees is fitted to the finished trials, and its
    variance split among the keys.
    """
    import optuna

    finished = [item for item in trials if item.state == "finished"]
    count = len(finished)
    in_all = [key for key in space.parameters if all(key in item.values for item in finished)]
    left_out = tuple(key for key in space.parameters if key not in in_all)

    def none(reason: str) -> Importance:
        return Importance(_NAME, {}, count, left_out, reason)

    if count < LEAST_TRIALS:
        return none(f"{count} finished trials are too few; {LEAST_TRIALS} are needed at least")
    if len({item.value for item in finished}) < 2:
        return none("all finished trials reach the same")
    varied = [key for key in in_all if len({repr(item.values[key]) for item in finished}) > 1]
    if not varied:
        return none("no key that all trials have was varied")
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=study.settings.seed)
    try:
        found = optuna.importance.get_param_importances(
            study.optuna, evaluator=evaluator, params=varied
        )
    except (ValueError, RuntimeError) as err:
        return none(str(err))
    return Importance(_NAME, {key: float(value) for key, value in found.items()}, count, left_out)
