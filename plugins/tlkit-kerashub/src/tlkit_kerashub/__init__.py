"""KerasHub's image backbones for tlkit, by the name of a preset."""

from __future__ import annotations

from collections.abc import Callable

from tlkit import Backbone, hookimpl


@hookimpl
def register_backbones(register: Callable[[type[Backbone]], None]) -> None:
    """Register kerashub."""
    from tlkit_kerashub.backbone import KerasHub

    register(KerasHub)
