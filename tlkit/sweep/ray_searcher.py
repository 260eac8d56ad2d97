"""Ray's view of the study; it imports Ray, and so is imported late."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from ray.tune.search import Searcher

from tlkit.sweep.board import Board
from tlkit.sweep.ray_results import EPOCH, OUTCOME, VALUE, outcome_of
from tlkit.sweep.study import Asked, SweepStudy


class StudySearcher(Searcher):  # type: ignore[misc]
    """Suggests the values that the study asks for, and tells it of results."""

    def __init__(self, study: SweepStudy, board: Board, done: Callable[[], None]) -> None:
        """Take what is told of each trial.

        Args:
            study: Asked for values, and told of results.
            board: Told of each trial.
            done: Called after each trial.
        """
        super().__init__(metric=VALUE, mode="max" if study.settings.larger_is_better else "min")
        self._study, self._board, self._done = study, board, done
        self._asked: dict[str, Asked] = {}
        self._last: dict[str, Mapping[str, Any]] = {}

    def set_search_properties(self, *args: Any, **kwargs: Any) -> bool:
        """Change nothing: the study knows its space."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """Return the values of a trial, as JSON; FINISHED when the study has enough."""
        asked = self._study.ask()
        if asked is None:
            return Searcher.FINISHED
        self._asked[trial_id] = asked
        self._board.begin(asked.number, asked.values)
        return {"number": asked.number, "values": json.dumps(asked.values)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tell the study of an epoch."""
        asked = self._asked.get(trial_id)
        if asked is None or EPOCH not in result:
            return
        self._last[trial_id] = result
        if OUTCOME not in result:
            with suppress(ValueError):
                self._study.report(asked, result[VALUE], result[EPOCH])
            self._study.seen(asked)
        self._board.status(f"{len(self._asked)} at work")

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study how a trial ended."""
        asked = self._asked.pop(trial_id, None)
        last = self._last.pop(trial_id, None) or {}
        if result is not None and EPOCH in result:
            last = result
        if asked is None:
            return
        found = outcome_of(last, error, self._study.settings.metric)
        trial = self._study.end(asked, found.state, found.value, found.record())
        if trial is not None:
            self._board.end(trial)
        self._done()

    def give_up(self) -> None:
        """Let others have the trials that did not end."""
        for asked in self._asked.values():
            self._study.give_up(asked)
        self._asked.clear()

    def __reduce__(self) -> Any:
        # Ray writes down all that it is given, to restore it later; the study does that.
        return dict, ()

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: the study's storage has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing, for the same reason."""
