"""Space: which keys of a config a sweep changes, and to what, as a TOML file says it."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from tlkit.config.tables import Config
from tlkit.errors import ConfigError, did_you_mean
from tlkit.options import describe_type
from tlkit.paths import expand_home

Scalar = bool | int | float | str
MAX_BYTES = 1_000_000
MAX_CHOICES = 1000
_TABLES = ("backbone", "head", "workflow", "features", "test_time_augmentation")
_REASONS = {
    "run": "trials share images, seed and validation set, or their figures could not be compared",
    "dataset": "trials share images and validation set, or their figures could not be compared",
    "engine": "an engine changes no figure",
    "reporters": "trials have none",
    "compare": "that is the grid of `tlkit compare`",
}


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
_MODELS: dict[str, type[_Parameter]] = {
    "choice": ChoiceParameter,
    "int": IntParameter,
    "float": FloatParameter,
}


def label(value: Any) -> Scalar:
    """Return a value of a choice as a scalar: itself, or JSON for a list or table."""
    return value if isinstance(value, Scalar) else json.dumps(value, sort_keys=True)


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


def read_space(path: Path | str) -> Space:
    """Read a search space from a TOML file.

    Raises:
        ConfigError: If it is missing, no TOML, or no space; the error names the key.
    """
    path = expand_home(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ConfigError(f"The space {path} is larger than {MAX_BYTES:,} bytes.")
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as err:
        reason = getattr(err, "strerror", None) or err
        raise ConfigError(f"Cannot read the space {path}: {reason}.") from err
    return parse_space(text, str(path))


def parse_space(text: str, where: str = "the space") -> Space:
    """Return the space that a TOML text describes.

    Args:
        text: One table for each key of the config: ``["head.units"]`` or ``[head.units]``, with
            ``type``, ``low`` and ``high``, or with ``choice``.
        where: What it is called in errors.

    Raises:
        ConfigError: If it is no TOML, or no space; the error names the key.
    """
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as err:
        raise ConfigError(f"{where} is no valid TOML: {err}.") from err
    return make_space(tables, where, text)


def make_space(tables: Mapping[str, Any], where: str = "the space", text: str = "") -> Space:
    """Return the space that tables describe, as they stand in TOML.

    Raises:
        ConfigError: If they are no space; the error names the key.
    """
    found: dict[str, Parameter] = {}
    for key, table in _flat(tables, ""):
        if key in found:
            raise ConfigError(f"{key} stands twice in {where}.")
        _check_key(key, where)
        found[key] = _parameter(key, table, where)
    if not found:
        raise ConfigError(
            f"{where} names no key to search over. Write one table for each, such as\n"
            f'["head.units"]\ntype = "int"\nlow = 16\nhigh = 1024\nlog = true'
        )
    return Space(_parents_first(found, where), text)


def _flat(tables: Mapping[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and what they hold; ``[head.units]`` is the same as ``["head.units"]``."""
    for name, value in tables.items():
        key = f"{before}{name}"
        is_group = isinstance(value, dict) and "." not in key and not _is_parameter(value)
        if is_group and value:
            yield from _flat(value, f"{key}.")
        else:
            yield key, value


def _is_parameter(table: Mapping[str, Any]) -> bool:
    return any(
        key in table and not isinstance(table[key], dict) for key in ("type", "choice", "low")
    )


def _check_key(key: str, where: str) -> None:
    table, _, name = key.partition(".")
    if table in _REASONS:
        raise ConfigError(
            f"{key} is no key to search over: {_REASONS[table]}.\n"
            f"Allowed tables: {', '.join(_TABLES)}.\n(received: {where})"
        )
    if not name:
        raise ConfigError(
            f"'{key}' is no key of a config. Allowed: TABLE.KEY, such as "
            f'["head.units"] or ["workflow.learning_rate"].\n(received: {where})'
        )
    if table not in _TABLES:
        raise ConfigError(
            f"Unknown table '{table}' in the key '{key}'.{did_you_mean(table, _TABLES)}\n"
            f"Allowed tables: {', '.join(_TABLES)}.\n(received: {where})"
        )
    fields = getattr(Config.model_fields[table].annotation, "model_fields", {})
    if "name" not in fields and name not in fields:
        raise ConfigError(
            f"Unknown key '{name}' in [{table}].{did_you_mean(name, fields)}\n"
            f"Allowed: {', '.join(fields)}.\n(received: {where})"
        )


def _parameter(key: str, table: Any, where: str) -> Parameter:
    received = f"(received: {key} in {where})"
    if not isinstance(table, dict):
        raise ConfigError(
            f"{key} = {table!r} is no range. Allowed: a table with type, low and high, or with "
            f"choice, such as {{ choice = [1, 2] }}.\n{received}"
        )
    kind = table.get("type", "choice" if "choice" in table else None)
    if not isinstance(kind, str) or kind not in _MODELS:
        hint = did_you_mean(kind, _MODELS) if isinstance(kind, str) else ""
        what = "no type" if kind is None else f"the unknown type {kind!r}"
        log = " A range of logarithms is type = 'float' (or 'int') with log = true."
        raise ConfigError(
            f"{key} has {what}.{hint} Allowed: type = 'int' or 'float' with low and high, or "
            f"choice = [...].{log if kind == 'log' else ''}\n{received}"
        )
    try:
        return cast(Parameter, _MODELS[kind].model_validate(table))
    except ValidationError as err:
        raise ConfigError(f"{_explain(key, kind, table, err)}\n{received}") from err


def _explain(key: str, kind: str, table: Mapping[str, Any], err: ValidationError) -> str:
    problem = err.errors()[0]
    fields = _fields(kind)
    name = str(problem["loc"][0]) if problem["loc"] else ""
    if problem["type"] == "value_error":
        return f"{key}: {problem['ctx']['error']}."
    if problem["type"] == "missing":
        return f"{key} has no '{name}'. {fields[name].description}"
    if problem["type"] == "extra_forbidden":
        return (
            f"Unknown '{name}' of {key}.{did_you_mean(name, fields)}\n"
            f"Allowed for {kind}: {', '.join(fields)}."
        )
    allowed = "a table" if name == "when" else describe_type(fields[name].annotation)
    if problem["type"] in ("greater_than_equal", "less_than_equal"):
        allowed = "a number of up to 53 bits"
    return f"{key}: {name} = {table.get(name)!r} is not allowed. Allowed: {allowed}."


def _fields(kind: str) -> Mapping[str, Any]:
    return _MODELS[kind].model_fields


def _parents_first(found: Mapping[str, Parameter], where: str) -> dict[str, Parameter]:
    """Return the parameters such that those named in a 'when' come before it."""
    for key, item in found.items():
        for parent, value in item.when.items():
            _check_condition(key, parent, value, found, where)
    ordered: dict[str, Parameter] = {}
    waiting = dict(found)
    while waiting:
        ready = [key for key, item in waiting.items() if all(name in ordered for name in item.when)]
        if not ready:
            raise ConfigError(
                f"The conditions of {', '.join(waiting)} go round in a circle.\n(received: {where})"
            )
        ordered |= {key: waiting.pop(key) for key in ready}
    return ordered


def _check_condition(
    key: str, parent: str, value: Any, found: Mapping[str, Parameter], where: str
) -> None:
    received = f"(received: when of {key} in {where})"
    if parent not in found:
        raise ConfigError(
            f"{key} depends on {parent}, which is no key of the space."
            f"{did_you_mean(parent, found)}\nAllowed: {', '.join(found)}.\n{received}"
        )
    choice = found[parent]
    if not isinstance(choice, ChoiceParameter):
        raise ConfigError(
            f"{key} depends on {parent}, which is no choice. Allowed: a key with choice = [...]."
            f"\n{received}"
        )
    if label(value) not in list(map(label, choice.choice)):
        raise ConfigError(
            f"{key} depends on {parent} = {value!r}, which that is never. Allowed: "
            f"{_listed(choice.choice)}.\n{received}"
        )


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(repr(value) for value in values[:20])


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
