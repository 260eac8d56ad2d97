"""Averaging: the moving average of the weights that a Keras optimizer keeps, put into the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def averaged_weights(optimizer: Any, variables: Sequence[Any]) -> Iterator[None]:
    """Let a model compute with the averages, and give it its own weights back afterwards.

    Args:
        optimizer: A built ``keras.optimizers.Optimizer``; without ``use_ema`` nothing happens.
        variables: The ``keras.Variable`` objects that it trains.
    """
    if not optimizer.use_ema:
        yield
        return
    own = [variable.numpy() for variable in variables]
    optimizer.finalize_variable_values(variables)
    try:
        yield
    finally:
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)
