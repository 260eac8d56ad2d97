"""The checks as tests: one for each, by parametrisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tlkit.plugin import Plugin
from tlkit.testing.suite import CheckFailed, Suite


def conformance(make: Callable[[], Plugin], kind: str | None = None) -> Any:
    """Return a decorator that turns a function into one test for each check.

    The function takes ``check``, a function that fails the test where the plugin does not conform,
    and skips it where another check must pass first.

    Args:
        make: Makes a fresh object of the plugin; called often.
        kind: Its kind; by default that of what ``make()`` returns, which is then called while
            pytest collects.
    """
    import pytest

    suite = Suite(make, kind if kind is not None else make().kind)

    def run(item: Any) -> Callable[[], None]:
        def check() -> None:
            outcome = suite.run(item)
            if outcome.status == "skipped":
                pytest.skip(outcome.reason)
            if outcome.status == "failed":
                raise CheckFailed(f"{outcome.rule} {outcome.reason}")

        return check

    parameters = [pytest.param(run(item), id=item.name) for item in suite.checks]
    return pytest.mark.parametrize("check", parameters)
