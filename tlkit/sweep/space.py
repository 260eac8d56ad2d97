"""Space: which keys of a config a sweep changes, and to what."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tlkit.errors import ConfigError
from tlkit.sweep.parameters import (
    MAX_CHOICES,
    ChoiceParameter,
    FloatParameter,
    Parameter,
    Scalar,
    label,
)


@dataclass(frozen=True)
class Space:
    """The keys that a sweep changes, parents before those that depend on them.

    Attributes:
        parameters: By key of the config, such as ``"head.units"``.
        text: The TOML that it was read from.
    """

    parameters: Mapping[str, Parameter]
    text: str = ""

    @property
    def conditional(self) -> bool:
        """Whether some keys are there in some trials only."""
        return any(item.when for item in self.parameters.values())

    def describe(self) -> dict[str, Any]:
        """Return the space as plain JSON values: two spaces that mean the same are equal."""
        return {key: item.model_dump(mode="json") for key, item in self.parameters.items()}

    def active(self, key: str, chosen: Mapping[str, Any]) -> bool:
        """Return whether a key takes part, as its parents have been chosen."""
        return all(
            parent in chosen and label(chosen[parent]) == label(value)
            for parent, value in self.parameters[key].when.items()
        )

    def examples(self) -> Iterator[dict[str, Any]]:
        """Yield values of all keys such that every end and choice of each is there once or more."""
        for key, item in self.parameters.items():
            for value in item.ends:
                wanted = {**self._needed(key), key: value}
                chosen: dict[str, Any] = {}
                for name, other in self.parameters.items():
                    if self.active(name, chosen):
                        chosen[name] = wanted.get(name, other.ends[0])
                yield chosen

    def _needed(self, key: str) -> dict[str, Any]:
        """Return the values of other keys without which a key is not there."""
        found: dict[str, Any] = {}
        for parent, value in self.parameters[key].when.items():
            found |= {**self._needed(parent), parent: value}
        return found

    def grid(self) -> dict[str, list[Scalar]]:
        """Return all values of each key.

        Raises:
            ConfigError: If a key has no end of values, or is there in some trials only.
        """
        found: dict[str, list[Scalar]] = {}
        for key, item in self.parameters.items():
            if item.when:
                raise ConfigError(
                    f"The sampler 'grid' takes no conditions, and {key} has a 'when'. Leave it "
                    f"out, or take another sampler, such as 'random'."
                )
            if isinstance(item, ChoiceParameter):
                found[key] = [label(value) for value in item.choice]
                continue
            step = item.step if item.step is not None else 1
            if item.log or (isinstance(item, FloatParameter) and item.step is None):
                raise ConfigError(
                    f"The sampler 'grid' needs all values of {key}: give it a 'step', without "
                    f"'log', or write them as a choice."
                )
            count = math.floor((item.high - item.low) / step + 1e-9) + 1
            if count > MAX_CHOICES:
                raise ConfigError(
                    f"The sampler 'grid' would try {count:,} values of {key}; allowed: up to "
                    f"{MAX_CHOICES:,}. Give it a larger 'step'."
                )
            found[key] = [item.low + step * number for number in range(count)]
        return found
