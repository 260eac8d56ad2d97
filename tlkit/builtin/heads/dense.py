"""The dense head: the exercise's one hidden layer."""

from __future__ import annotations

from typing import ClassVar

from tlkit.builtin.heads.mlp import MLP


class Dense(MLP):
    """One hidden layer with ReLU and dropout, as in the original exercise."""

    name: ClassVar[str] = "dense"

    def __init__(self, units: int = 128, dropout: float = 0.3) -> None:
        """Set the layer.

        Args:
            units: Width of the hidden layer, 1 or more.
            dropout: Share of its activations dropped in training, 0 up to below 1.
        """
        super().__init__([units], dropout, batch_norm=False)
