"""What differs between the settings that a run began with and those that it is to go on with."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

# What is shown and saved, and where the work is done and kept; no figure, history or weight depends
# on it.
_FREE = (
    "reporters",
    "run.name",
    "run.save",
    "run.test_images",
    "run.distribute",
    "features.store",
    "engine.distribute",
    "engine.ray",
)
# Where a machine finds its data; whether it is the same is seen by the digests.
_PLACES = ("dataset.path", "run.start_from")
_MOST_NAMED, _MOST_CHARACTERS = 8, 80


def changed_settings(before: str, now: str) -> list[str]:
    """Return the settings that differ, each with both values.

    Reporters, the run's name, the formats to save, whether pictures are kept, on which machines
    features are computed and shared, and on how many devices batches are worked on are passed over:
    results do not depend on them, but for rounding.

    Args:
        before: A config as TOML.
        now: Another one.

    Raises:
        tomllib.TOMLDecodeError: If one is no TOML.
    """
    return changed_values(tomllib.loads(before), tomllib.loads(now), _FREE)


def settings_of_figures(config: str) -> dict[str, str]:
    """Return the settings that figures depend on, as texts, paths of data excepted.

    Args:
        config: A config as TOML.
    """
    flat = _flat(tomllib.loads(config), (*_FREE, *_PLACES))
    return {key: repr(value) for key, value in flat}


def changed_values(
    before: Mapping[str, Any], now: Mapping[str, Any], free: tuple[str, ...] = ()
) -> list[str]:
    """Return what differs, such as ``"workflow.epochs was 4 and is 5"``, in order of the keys.

    Args:
        before: Values by key; tables may hold tables.
        now: The same of now.
        free: Keys that are passed over, with a dot between a table and its key.
    """
    old, new = dict(_flat(before, free)), dict(_flat(now, free))
    found = [
        f"{key} was {_shown(old, key)} and is {_shown(new, key)}"
        for key in sorted({*old, *new})
        if (key in old) != (key in new) or old.get(key) != new.get(key)
    ]
    more = len(found) - _MOST_NAMED
    return found if more <= 0 else [*found[:_MOST_NAMED], f"and {more} more"]


def _flat(
    table: Mapping[str, Any], free: tuple[str, ...], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        name = f"{prefix}{key}"
        if name in free:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, free, f"{name}.")
        else:
            yield name, value


def _shown(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return "not set"
    text = repr(values[key])
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."
