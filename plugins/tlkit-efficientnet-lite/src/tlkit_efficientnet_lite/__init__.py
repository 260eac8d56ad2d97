"""EfficientNet-Lite backbones for tlkit."""

from __future__ import annotations

from collections.abc import Callable

from tlkit import Backbone, hookimpl


@hookimpl
def register_backbones(register: Callable[[type[Backbone]], None]) -> None:
    """Register efficientnet_lite0, efficientnet_lite1 and efficientnet_lite2."""
    from tlkit_efficientnet_lite.backbones import BACKBONES

    for backbone in BACKBONES:
        register(backbone)
