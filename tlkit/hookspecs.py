"""The hooks that a plugin package implements; each receives ``register`` and calls it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from tlkit.backbone import Backbone
    from tlkit.dataset import DatasetSource
    from tlkit.engine import Engine
    from tlkit.head import Head
    from tlkit.reporter import Reporter
    from tlkit.workflow import Workflow

hookspec = pluggy.HookspecMarker("tlkit")
hookimpl = pluggy.HookimplMarker("tlkit")


@hookspec
def register_backbones(register: Callable[[type[Backbone]], None]) -> None:
    """Register Backbone classes, such as ``register(MobileNetV2)``."""


@hookspec
def register_heads(register: Callable[[type[Head]], None]) -> None:
    """Register Head classes."""


@hookspec
def register_reporters(register: Callable[[type[Reporter]], None]) -> None:
    """Register Reporter classes."""


@hookspec
def register_datasets(register: Callable[[type[DatasetSource]], None]) -> None:
    """Register DatasetSource classes."""


@hookspec
def register_workflows(register: Callable[[type[Workflow]], None]) -> None:
    """Register Workflow classes."""


@hookspec
def register_engines(register: Callable[[type[Engine]], None]) -> None:
    """Register Engine classes."""
