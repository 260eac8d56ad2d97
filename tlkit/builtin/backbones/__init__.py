"""The built-in backbones."""

from __future__ import annotations

from collections.abc import Callable

from tlkit import Backbone, hookimpl


@hookimpl
def register_backbones(register: Callable[[type[Backbone]], None]) -> None:
    """Register them."""
    from tlkit.builtin.backbones.keras_applications import BACKBONES

    for backbone in BACKBONES:
        register(backbone)
