"""The built-in reporters."""

from __future__ import annotations

from collections.abc import Callable

from tlkit import Reporter, hookimpl


@hookimpl
def register_reporters(register: Callable[[type[Reporter]], None]) -> None:
    """Register them."""
    from tlkit.builtin.reporters.files import FilesReporter
    from tlkit.builtin.reporters.html import HtmlReporter
    from tlkit.builtin.reporters.plots import PlotsReporter
    from tlkit.builtin.reporters.tensorboard import TensorBoardReporter
    from tlkit.builtin.reporters.terminal import RichReporter

    for reporter in (
        RichReporter,
        PlotsReporter,
        FilesReporter,
        HtmlReporter,
        TensorBoardReporter,
    ):
        register(reporter)
