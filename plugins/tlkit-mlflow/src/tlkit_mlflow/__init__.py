"""Runs of tlkit in MLflow."""

from __future__ import annotations

from collections.abc import Callable

from tlkit import Reporter, hookimpl


@hookimpl
def register_reporters(register: Callable[[type[Reporter]], None]) -> None:
    """Register mlflow."""
    from tlkit_mlflow.reporter import MLflowReporter

    register(MLflowReporter)
