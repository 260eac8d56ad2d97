"""The built-in workflows."""

from __future__ import annotations

from collections.abc import Callable

from tlkit import Workflow, hookimpl


@hookimpl
def register_workflows(register: Callable[[type[Workflow]], None]) -> None:
    """Register them."""
    from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain

    register(FreezeAndTrain)
