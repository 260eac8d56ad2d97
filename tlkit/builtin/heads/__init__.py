"""The built-in heads."""

from __future__ import annotations

from collections.abc import Callable

from tlkit import Head, hookimpl


@hookimpl
def register_heads(register: Callable[[type[Head]], None]) -> None:
    """Register them."""
    from tlkit.builtin.heads.dense import Dense
    from tlkit.builtin.heads.linear import Linear
    from tlkit.builtin.heads.mlp import MLP

    for head in (Dense, Linear, MLP):
        register(head)
