"""The built-in heads."""

from __future__ import annotations

from collections.abc import Callable

from tlkit import Head, hookimpl


@hookimpl
def register_heads(register: Callable[[type[Head]], None]) -> None:
    """Register them."""
    from tlkit.builtin.heads.dense import Dense
    from tlkit.builtin.heads.knn import KNN
    from tlkit.builtin.heads.linear import Linear
    from tlkit.builtin.heads.logistic import Logistic
    from tlkit.builtin.heads.mlp import MLP
    from tlkit.builtin.heads.prototype import Prototype

    for head in (Dense, KNN, Linear, Logistic, MLP, Prototype):
        register(head)
