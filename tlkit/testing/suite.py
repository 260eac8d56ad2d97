"""The suite: checks, what they need, and running them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from tlkit.errors import PluginError, TlkitError
from tlkit.plugin import Plugin
from tlkit.plugin_calls import plugin_warnings

Make = Callable[[], Plugin]
Status = Literal["passed", "failed", "skipped"]


class CheckFailed(TlkitError, AssertionError):
    """A plugin does not do what a check asks for."""

    exit_code = 1


@dataclass
class Subject:
    """The plugin under test.

    Attributes:
        make: Makes a fresh object of it.
        folder: An empty folder for what a check writes.
        kept: What checks hand to each other, such as a network that was built.
    """

    make: Make
    folder: Path
    kept: dict[str, Any] = field(default_factory=dict)

    def once(self, key: str, work: Callable[[], Any]) -> Any:
        """Return what a function returns, called for the first check that asks for it."""
        if key not in self.kept:
            self.kept[key] = work()
        return self.kept[key]


@dataclass(frozen=True)
class Check:
    """One thing that tlkit asks of a kind of plugin.

    Attributes:
        name: Its name, in words joined by ``-``.
        kinds: The kinds of plugin that it is for.
        rule: What must hold, in one sentence.
        run: Raises ``CheckFailed``, or another ``TlkitError``, where it does not.
        needs: Names of the checks without which it says nothing.
    """

    name: str
    kinds: tuple[str, ...]
    rule: str
    run: Callable[[Subject], None]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Attributes:
        check: Its name.
        rule: What it asks for.
        status: ``"skipped"`` where a check that it needs did not pass.
        reason: Why it failed or was skipped; empty if it passed.
        seconds: Wall-clock seconds.
    """

    check: str
    rule: str
    status: Status
    reason: str = ""
    seconds: float = 0.0


def expect(condition: Any, reason: str) -> None:
    """Fail the check where a condition does not hold.

    Raises:
        CheckFailed: With the reason.
    """
    if not condition:
        raise CheckFailed(reason)


def check(*kinds: str, needs: tuple[str, ...] = ()) -> Callable[[Callable[[Subject], None]], Check]:
    """Make a check of a function: its name with hyphens, its docstring as the rule."""

    def make(function: Callable[[Subject], None]) -> Check:
        rule = (function.__doc__ or "").strip().split("\n", 1)[0]
        return Check(function.__name__.replace("_", "-"), kinds, rule, function, needs)

    return make


@cache
def all_checks() -> tuple[Check, ...]:
    """Return every check, those that others need first."""
    from tlkit.testing import backbone, dataset, engine, every_kind, head, reporter, workflow

    modules = (every_kind, backbone, head, dataset, reporter, workflow, engine)
    return tuple(
        item for module in modules for item in vars(module).values() if isinstance(item, Check)
    )


def checks_of(kind: str) -> tuple[Check, ...]:
    """Return the checks for a kind of plugin, in the order in which they run.

    Args:
        kind: ``"backbone"``, ``"head"``, ``"reporter"``, ``"dataset"``, ``"workflow"`` or
            ``"engine"``.

    Raises:
        PluginError: If there is no such kind.
    """
    from tlkit.registry import KINDS

    if kind not in KINDS:
        raise PluginError(f"Unknown kind of plugin {kind!r}. Allowed: {', '.join(KINDS)}.")
    return tuple(item for item in all_checks() if kind in item.kinds)


class Suite:
    """Runs the checks on one plugin, each once, those that it needs before it."""

    def __init__(self, make: Make, kind: str) -> None:
        """Set what to check.

        Args:
            make: Makes a fresh object of the plugin; called often.
            kind: Its kind.
        """
        self.checks = checks_of(kind)
        self._by_name: Mapping[str, Check] = {item.name: item for item in self.checks}
        self._make = make
        self._outcomes: dict[str, Outcome] = {}
        self._kept: dict[str, Any] = {}

    def run(self, item: Check) -> Outcome:
        """Return what a check found; it runs where it did not yet."""
        if item.name not in self._outcomes:
            self._outcomes[item.name] = self._run(item)
        return self._outcomes[item.name]

    def _run(self, item: Check) -> Outcome:
        for name in item.needs:
            # A check that is not for this kind asks nothing of it.
            if name in self._by_name and self.run(self._by_name[name]).status != "passed":
                reason = f"it needs {name}, which did not pass"
                return Outcome(item.name, item.rule, "skipped", reason)
        begin = time.monotonic()
        reason = ""
        with self._subject() as subject:
            try:
                item.run(subject)
            except TlkitError as err:
                reason = str(err)
            except Exception as err:
                # Of the plugin's own code, outside a call that would name it.
                reason = f"{type(err).__name__}: {err}"
        status: Status = "failed" if reason else "passed"
        return Outcome(item.name, item.rule, status, reason, time.monotonic() - begin)

    @contextmanager
    def _subject(self) -> Iterator[Subject]:
        # What a plugin changes of the process is for one check to tell, and put back by all.
        with (
            tempfile.TemporaryDirectory() as folder,
            plugin_warnings(lambda text: None),
        ):
            yield Subject(self._make, Path(folder), self._kept)


def run_checks(make: Make, kind: str | None = None) -> Iterator[Outcome]:
    """Run every check on a plugin; yield what each found.

    Args:
        make: Makes a fresh object of the plugin; called often.
        kind: Its kind; by default that of what ``make()`` returns.

    Raises:
        TlkitError: If it cannot be made, and no kind is given.
    """
    suite = Suite(make, kind if kind is not None else make().kind)
    for item in suite.checks:
        yield suite.run(item)
