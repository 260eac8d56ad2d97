"""What a key of a search space may be: a choice, a whole number, a number; and its values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

Scalar = bool | int | float | str
MAX_CHOICES = 1000


class _Parameter(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    when: dict[str, JsonValue] = Field(
        default={}, description="Only where these keys of the space have these values."
    )


class ChoiceParameter(_Parameter):
    """One of some values."""

    type: Literal["choice"] = "choice"
    choice: list[JsonValue] = Field(description="Two or more values.")

    @model_validator(mode="after")
    def _check(self) -> ChoiceParameter:
        try:
            json.dumps(self.choice, allow_nan=False)
        except ValueError as err:
            raise ValueError("choice has a value that is not allowed: a finite number") from err
        labels = [label(value) for value in self.choice]
        if len(labels) < 2:
            raise ValueError(
                f"choice = {self.choice!r} has {len(labels)} values; allowed: 2 or more"
            )
        if len(labels) > MAX_CHOICES:
            raise ValueError(f"choice has {len(labels):,} values; allowed: up to {MAX_CHOICES:,}")
        twice = [item for item in labels if labels.count(item) > 1]
        if twice:
            raise ValueError(f"choice has {twice[0]} twice; allowed: different values")
        return self

    @property
    def ends(self) -> list[Any]:
        """The values to check a config with."""
        return list(self.choice)


class NumberParameter(_Parameter):
    """A number from a range, both ends included."""

    log: bool = Field(default=False, description="Whether to draw from the logarithm.")

    def _check_range(self, low: float, high: float, step: float | None) -> None:
        for key, value in (("low", low), ("high", high), ("step", step)):
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{key} = {value} is not allowed: a finite number")
        if not low < high:
            raise ValueError(f"low = {low} and high = {high} are not allowed: low below high")
        if self.log and low <= 0:
            raise ValueError(f"log = true with low = {low} is not allowed: low above 0")
        if step is not None and self.log:
            raise ValueError("log = true and step are not allowed together: one of them")
        if step is not None and not 0 < step <= high - low:
            raise ValueError(f"step = {step} is not allowed: above 0, up to high - low")

    @property
    def ends(self) -> list[Any]:
        """The values to check a config with."""
        return [self.low, self.high]  # type: ignore[attr-defined]


# Optuna keeps whole numbers as 64-bit ones.
_Int = Annotated[int, Field(ge=-(2**53), le=2**53)]


class IntParameter(NumberParameter):
    """A whole number."""

    type: Literal["int"]
    low: _Int = Field(description="Smallest value.")
    high: _Int = Field(description="Largest value.")
    step: _Int | None = Field(default=None, description="Distance of the values; 1 without it.")

    @model_validator(mode="after")
    def _check(self) -> IntParameter:
        self._check_range(self.low, self.high, self.step)
        return self


class FloatParameter(NumberParameter):
    """A number."""

    type: Literal["float"]
    low: float = Field(description="Smallest value.")
    high: float = Field(description="Largest value.")
    step: float | None = Field(default=None, description="Distance of the values; any without it.")

    @model_validator(mode="after")
    def _check(self) -> FloatParameter:
        self._check_range(self.low, self.high, self.step)
        return self


Parameter = ChoiceParameter | IntParameter | FloatParameter
PARAMETERS: dict[str, type[_Parameter]] = {
    "choice": ChoiceParameter,
    "int": IntParameter,
    "float": FloatParameter,
}


def label(value: Any) -> Scalar:
    """Return a value of a choice as a scalar: itself, or JSON for a list or table."""
    return value if isinstance(value, Scalar) else json.dumps(value, sort_keys=True)


def assignment(key: str, value: Any) -> str:
    """Return ``TABLE.KEY=VALUE`` as ``tlkit.config.reading.override()`` takes it."""
    return f"{key}={_toml(value)}"


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(str(k))} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # TOML has no DEL in text, which JSON lets stand.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
