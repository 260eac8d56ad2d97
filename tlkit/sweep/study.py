"""Study: the trials of a sweep in a storage, shared by processes and kept over interrupts."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit.changed_values import changed_values
from tlkit.errors import ConfigError
from tlkit.sweep.parameters import Scalar
from tlkit.sweep.records import Settings, State, Trial
from tlkit.sweep.searching import (
    grid_size,
    make_pruner,
    make_sampler,
    params_within,
    suggest,
    values_of,
)
from tlkit.sweep.space import Space
from tlkit.sweep.storage import open_storage, shown, storage_errors

if TYPE_CHECKING:
    import optuna

_RECORD, _WORKER, _OUTCOME, _SEEN = "tlkit", "worker", "outcome", "seen"
# A trial that was given up: it is no result, and its values were asked for again.
_GONE = "given_up"
SEEN_EVERY, SILENT_AFTER, UNSIGNED_AFTER = 30.0, 900.0, 60.0
_WAIT_FOR_MAKER = 10.0


@dataclass(frozen=True)
class Identity:
    """What must be the same in all processes of a study.

    Attributes:
        config: The settings that decide what a trial gives.
        data: The SHA-256 of images and labels.
        space: The search space as JSON values.
        settings: How it searches, without the number of trials.
    """

    config: Mapping[str, Any]
    data: Mapping[str, str]
    space: Mapping[str, Any]
    settings: Mapping[str, Any]

    @classmethod
    def of(
        cls, config: Mapping[str, Any], data: Mapping[str, str], space: Space, settings: Settings
    ) -> Identity:
        """Return that of a sweep.

        Args:
            config: The resolved config; what changes no trial is left out of it, and so is where
                the data and the features lie, which need not be the same on all machines.
            data: Digests by name.
            space: The space.
            settings: How it searches.
        """
        tables = {key: dict(value) for key, value in config.items() if isinstance(value, Mapping)}
        for key in ("dataset", "engine"):
            tables.pop(key, None)
        for key in ("name", "save", "test_images", "calibrate", "duplicates"):
            tables.get("run", {}).pop(key, None)
        tables.get("features", {}).pop("store", None)
        search = asdict(settings)
        del search["trials"]
        plain = json.loads(json.dumps([tables, dict(data), space.describe(), search], default=str))
        return cls(*plain)


@dataclass(frozen=True)
class Asked:
    """A trial that this process is to run."""

    number: int
    values: Mapping[str, Any]
    handle: optuna.trial.Trial


class SweepStudy:
    """A study of Optuna's, and who is at which trial."""

    def __init__(self, url: str, name: str, space: Space, settings: Settings) -> None:
        """Connect to the storage.

        Args:
            url: What ``choose_storage()`` returned.
            name: Name of the study.
            space: The search space.
            settings: How it searches.

        Raises:
            ConfigError: If the storage cannot be reached.
        """
        self.url, self.name, self.space, self.settings = url, name, space, settings
        self._storage = open_storage(url)
        self._worker = _this_process()
        self._study: Any = None

    @property
    def optuna(self) -> optuna.Study:
        """The study as Optuna knows it."""
        return self._study

    def open(self, identity: Identity, default: Mapping[str, Any]) -> None:
        """Make the study, or join it.

        Args:
            identity: What this process would search.
            default: The values of the config as it is; where they lie in the space, they are the
                first trial.

        Raises:
            ConfigError: If the study there is one of another config, space or data.
        """
        import optuna

        direction = "maximize" if self.settings.larger_is_better else "minimize"
        arguments = {
            "storage": self._storage,
            "study_name": self.name,
            "sampler": make_sampler(self.settings, self.space),
            "pruner": make_pruner(self.settings.pruner),
        }
        with storage_errors(self.url):
            try:
                self._study = optuna.create_study(direction=direction, **arguments)
                record = None
            except optuna.exceptions.DuplicatedStudyError:
                self._study = optuna.load_study(**arguments)
                record = self._wait_for_record()
            if record is None:
                params = params_within(default, self.space)
                # The sampler 'grid' visits that place by itself.
                if params is not None and self.settings.sampler != "grid":
                    self._study.enqueue_trial(dict(params), skip_if_exists=True)
                self._study.set_user_attr(_RECORD, json.dumps(asdict(identity), sort_keys=True))
                return
        self._compare(record, identity)
        self._take_over()

    def _wait_for_record(self) -> Mapping[str, Any] | None:
        """Return what the study is of; None if its maker died before saying so."""
        end = time.monotonic() + _WAIT_FOR_MAKER
        while True:
            found = self._study.user_attrs.get(_RECORD)
            if found is not None:
                record: Mapping[str, Any] = json.loads(found)
                return record
            if self._study.get_trials(deepcopy=False):
                raise ConfigError(
                    f"The study '{self.name}' in {shown(self.url)} was not made by tlkit sweep. "
                    f"Give another --study or --storage."
                )
            if time.monotonic() > end:
                return None
            time.sleep(0.1)

    def _compare(self, record: Mapping[str, Any], identity: Identity) -> None:
        found = changed_values(record, asdict(identity))
        if found:
            raise ConfigError(
                f"The study '{self.name}' in {shown(self.url)} is of another sweep: "
                f"{'; '.join(found)}. Put that back as it was to go on with it, or begin another "
                f"one: --output, --study or --storage."
            )

    def _take_over(self) -> None:
        """Give up the trials of processes that are gone, and ask for their values again."""
        with storage_errors(self.url):
            for trial in self._study.get_trials(deepcopy=False, states=self._running()):
                if not _is_alive(trial, self._worker):
                    self._give_up(trial.number, trial.params)

    def ask(self) -> Asked | None:
        """Return the next trial for this process; None if there are enough.

        Several processes may ask at one time; each trial goes to one of them, and there are never
        more than the settings say.
        """
        import optuna

        states = optuna.trial.TrialState
        with storage_errors(self.url):
            if not self._missing():
                return None
            handle = self._study.ask()
            handle.set_user_attr(_WORKER, json.dumps(self._worker))
            handle.set_user_attr(_SEEN, time.time())
            values = suggest(handle, self.space)
            before = [
                item
                for item in self._counted(
                    states.COMPLETE, states.PRUNED, states.FAIL, states.RUNNING
                )
                if item.number < handle.number
            ]
            if len(before) >= self._limit():  # somebody else was faster
                self._give_up(handle.number, self._frozen(handle.number).params)
                return None
        return Asked(handle.number, values, handle)

    def _missing(self) -> int:
        import optuna

        states = optuna.trial.TrialState
        counted = self._counted(states.COMPLETE, states.PRUNED, states.FAIL, states.RUNNING)
        return max(self._limit() - len(counted), 0)

    def _limit(self) -> int:
        """Return how many trials there are to be."""
        wanted = self.settings.trials
        return min(wanted, grid_size(self.space)) if self.settings.sampler == "grid" else wanted

    def _counted(self, *states: Any) -> list[Any]:
        """Return trials in some states, those left out that were given up."""
        found = self._study.get_trials(deepcopy=False, states=states)
        return [item for item in found if _GONE not in item.user_attrs]

    def report(self, asked: Asked, value: float, step: int) -> bool:
        """Note the metric after an epoch; return whether the pruner ends the trial.

        Args:
            asked: The trial.
            value: The metric.
            step: The epoch, from 1.
        """
        with storage_errors(self.url):
            asked.handle.report(value, step)
            return bool(asked.handle.should_prune())

    def seen(self, asked: Asked) -> None:
        """Tell others that the trial is still being worked on."""
        with storage_errors(self.url):
            asked.handle.set_user_attr(_SEEN, time.time())

    def end(
        self, asked: Asked, state: State, value: float | None, outcome: Mapping[str, Any]
    ) -> Trial | None:
        """Keep what came of a trial.

        Args:
            asked: The trial.
            state: How it ended.
            value: The metric; of a pruned trial that of its last epoch.
            outcome: ``metrics``, ``epochs``, ``seconds``, ``error``.

        Returns:
            The record; None if another process had taken this one for dead, and the trial over.
        """
        import optuna

        states = optuna.trial.TrialState
        by_name = {"finished": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}
        with storage_errors(self.url):
            # A trial that is over can be changed no more.
            with suppress(RuntimeError):
                asked.handle.set_user_attr(_OUTCOME, json.dumps({**outcome, "value": value}))
                finished = state == "finished"
                self._study.tell(asked.number, value if finished else None, state=by_name[state])
            frozen = self._frozen(asked.number)
        return None if _GONE in frozen.user_attrs else self._record(frozen)

    def give_up(self, asked: Asked) -> None:
        """Leave a trial to whoever asks next, as after Ctrl-C."""
        with storage_errors(self.url):
            params = self._frozen(asked.number).params
            self._give_up(asked.number, params)

    def _give_up(self, number: int, params: Mapping[str, Scalar]) -> None:
        """End a trial that has no result, and ask for its values again."""
        import optuna

        trial_id = self._frozen(number)._trial_id
        try:
            self._storage.set_trial_user_attr(trial_id, _GONE, True)
            self._study.tell(number, state=optuna.trial.TrialState.FAIL)
        except (RuntimeError, ValueError):
            return  # it is over by now, or somebody else gave it up
        if params:
            self._study.enqueue_trial(dict(params))

    def _frozen(self, number: int) -> Any:
        return next(
            item for item in self._study.get_trials(deepcopy=False) if item.number == number
        )

    def trials(self) -> tuple[Trial, ...]:
        """Return the trials that are over, by number."""
        import optuna

        states = optuna.trial.TrialState
        with storage_errors(self.url):
            found = self._counted(states.COMPLETE, states.PRUNED, states.FAIL)
        return tuple(map(self._record, found))

    def at_work(self) -> int:
        """Return how many trials processes are at that are alive, as far as that is known."""
        with storage_errors(self.url):
            found = self._study.get_trials(deepcopy=False, states=self._running())
            return sum(_is_alive(item, self._worker) for item in found)

    @staticmethod
    def _running() -> tuple[Any, ...]:
        import optuna

        return (optuna.trial.TrialState.RUNNING,)

    def _record(self, frozen: Any) -> Trial:
        outcome = json.loads(frozen.user_attrs.get(_OUTCOME, "{}"))
        worker = json.loads(frozen.user_attrs.get(_WORKER, "{}"))
        names: dict[str, State] = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed"}
        state = names[frozen.state.name]
        return Trial(
            number=frozen.number,
            state=state,
            values=values_of(frozen.params, self.space),
            value=frozen.value if state == "finished" else outcome.get("value"),
            metrics=outcome.get("metrics", {}),
            epochs=outcome.get("epochs", 0),
            seconds=outcome.get("seconds", {}),
            error=outcome.get("error", "it says no reason") if state == "failed" else None,
            where=f"{worker.get('host', '')}:{worker.get('process', '')}",
        )


def _this_process() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "process": os.getpid(),
        "started": _started(os.getpid()),
    }


def _machine() -> str:
    """Return what tells a boot of a machine, and a container on it, from others; "" if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(process: int) -> str:
    """Return when a process was started, in the kernel's ticks; "" if it is unknown."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        return text.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _is_alive(trial: Any, mine: Mapping[str, Any]) -> bool:
    """Return whether the process that runs a trial is there; of other machines, was heard of."""
    worker = json.loads(trial.user_attrs.get(_WORKER, "{}"))
    if (worker.get("host"), worker.get("machine")) == (mine["host"], mine["machine"]):
        process = worker["process"]
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        except OSError:
            pass  # it is another user's
        return bool(worker.get("started") == _started(process))
    seen = trial.user_attrs.get(_SEEN)
    if seen is None and trial.datetime_start is not None:
        seen = trial.datetime_start.timestamp()
    # Who asks for a trial signs it in the next moment; one without a name was killed in between.
    silent = SILENT_AFTER if worker else UNSIGNED_AFTER
    return seen is not None and time.time() - float(seen) < silent
