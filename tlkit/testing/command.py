"""What ``tlkit check`` does with its arguments."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tlkit.documents.plugins import CheckedPlugin, CheckOutcome, Checks
from tlkit.runtime import require_tensorflow_backend
from tlkit.screen import say, show_table
from tlkit.testing.finding import Found, find, read_options
from tlkit.testing.suite import Outcome, run_checks
from tlkit.wording import plural

SIGNS = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}


def check(target: str, kind: str | None, assignments: Sequence[str], quiet: bool) -> Checks:
    """Run the conformance suite on what a target names, and print what it finds.

    Args:
        target: A registered name, or a file; see ``tlkit.testing.finding.find()``.
        kind: The kind that is meant; None for any.
        assignments: ``KEY=VALUE`` each: constructor keywords.
        quiet: Print nothing.

    Raises:
        TlkitError: If there is no such plugin.
    """
    plugins = []
    for found in find(target, kind, read_options(assignments)):
        if not quiet:
            print(f"{found.plugin.kind.capitalize()} '{found.plugin.name}' of {found.origin}")
        outcomes = _run(found, quiet)
        plugins.append(
            CheckedPlugin(
                kind=found.plugin.kind,
                name=found.plugin.name,
                origin=found.origin,
                outcomes=[CheckOutcome.model_validate(item) for item in outcomes],
            )
        )
    failed = any(item.status == "failed" for plugin in plugins for item in plugin.outcomes)
    return Checks(plugins=plugins, status="failed" if failed else "ok")


def _run(found: Found, quiet: bool) -> list[Outcome]:
    require_tensorflow_backend()
    outcomes = []
    live = not quiet and sys.stdout.isatty()
    for outcome in run_checks(found.make, found.plugin.kind):
        outcomes.append(outcome)
        if live:
            print(f"\r\033[K{len(outcomes)} checks done", end="", flush=True)
    if live:
        print("\r\033[K", end="")
    if not quiet:
        _show(outcomes)
    return outcomes


def _show(outcomes: Sequence[Outcome]) -> None:
    rows = [(SIGNS[item.status], item.check, item.rule) for item in outcomes]
    show_table(("", "Check", "What it asks for"), rows)
    for item in outcomes:
        if item.status != "passed":
            say(f"{SIGNS[item.status]}: {item.check}: {item.reason}", sys.stdout)
    counts = {
        status: sum(item.status == status for item in outcomes)
        for status in ("passed", "failed", "skipped")
    }
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    print(f"{plural(len(outcomes), 'check')}: {told}\n")
