"""The linear head: a softmax regression."""

from __future__ import annotations

from typing import ClassVar, Literal

from tlkit.builtin.heads.mlp import MLP


class Linear(MLP):
    """A softmax regression on the pooled features."""

    name: ClassVar[str] = "linear"

    def __init__(self, pooling: Literal["avg", "max"] = "avg") -> None:
        """Choose the pooling.

        Args:
            pooling: How feature maps become a vector.
        """
        super().__init__([], pooling=pooling)
