"""Events: tells a run's reporters what happens, and survives what they raise."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from tlkit.plugin_calls import describe_plugin, kept_state
from tlkit.reporter import Reporter


class Events:
    """The reporters of one run.

    Attributes:
        warnings: One line for each reporter that raised and was dropped.
    """

    def __init__(self, reporters: Sequence[Reporter]) -> None:
        self._reporters = list(reporters)
        self.warnings: list[str] = []

    def emit(self, event: str, *args: Any, **kwargs: Any) -> None:
        """Call one method of every reporter; drop those that raise.

        Args:
            event: The method's name, such as ``"on_epoch_end"``.
            args: Its arguments.
            kwargs: Its keyword arguments.
        """
        for reporter in list(self._reporters):
            try:
                with kept_state(f"{describe_plugin(reporter)} in {event}", self.warnings.append):
                    getattr(reporter, event)(*args, **kwargs)
            except (Exception, SystemExit) as err:
                self._reporters.remove(reporter)
                message = (
                    f"{describe_plugin(reporter)} raised {type(err).__name__} in {event} and was "
                    f"dropped: {err}"
                )
                self.warnings.append(message)
                warnings.warn(message, RuntimeWarning, stacklevel=2)
