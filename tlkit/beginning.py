"""The beginning of a run: what it notes of itself, and what a resumed one is held against."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from tlkit.changed_values import changed_settings
from tlkit.checked_json import read_checked_json
from tlkit.errors import RunFolderError
from tlkit.interruption import command_line

BEGUN = "begun.json"
_NAMES = {
    "train": "the training images",
    "validation": "the validation images",
    "test": "the test images",
    "labels": "the labels or class names",
    "weights": "the backbone's pretrained weights",
    "parent": "the model that the run starts from",
}

# What was missing or damaged when a run was resumed without the facts that it had begun with; in
# "all" nothing of the training was left either.
Lost = Literal["", "missing", "damaged", "all"]


@dataclass
class _Facts:
    """What a run notes of itself when it begins; later, which phases it has kept a state of."""

    began: str
    config: str
    fingerprints: dict[str, str]
    versions: dict[str, str]
    one_thread_per_operation: bool | None = None
    working_folder: str = ""
    lost: Lost = ""
    phases: dict[Annotated[str, Field(pattern=r"^[0-9]{1,4}$")], str] = field(default_factory=dict)


_FACTS = TypeAdapter(_Facts)


def read_begun(folder: Path) -> dict[str, Any] | None:
    """Return what a run noted of itself when it began; None where that is missing or damaged.

    Args:
        folder: The folder of the run's checkpoints.
    """
    found = read_checked_json(folder / BEGUN)
    try:
        facts = None if found is None else vars(_FACTS.validate_python(found))
        if facts is not None:
            tomllib.loads(facts["config"])
    except (ValueError, RecursionError):
        return None
    return facts


def check_settings(folder: Path, config: str) -> None:
    """Check that a config has the settings that a run began with, if it noted them.

    Args:
        folder: The folder of the run's checkpoints.
        config: The config as TOML.

    Raises:
        RunFolderError: If a setting that figures depend on is another one.
    """
    before = read_begun(folder)
    if before is not None and (changed := changed_settings(before["config"], config)):
        raise refusal(folder, changed)


def check_same(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that a resumed run is made of what it began with.

    Args:
        folder: The folder of the run's checkpoints.
        before: What ``read_begun()`` returned.
        now: The same facts of the resumed run.

    Raises:
        RunFolderError: If the config, the data or the weights are other ones.
    """
    changed = changed_settings(before["config"], now["config"]) or [
        f"{_NAMES.get(name, name)} (SHA-256 {str(then)[:12]}, now {str(found)[:12]})"
        for name in sorted({*before["fingerprints"], *now["fingerprints"]})
        if (then := before["fingerprints"].get(name)) != (found := now["fingerprints"].get(name))
    ]
    if changed:
        raise refusal(folder, changed)


def doubts(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return why the figures of a resumed run may differ, though it is made of the same.

    Args:
        before: What ``read_begun()`` returned.
        now: The same facts of the resumed run.
    """
    found = []
    versions = [
        f"{name} {before['versions'].get(name, '(none)')} is now {value}"
        for name, value in now["versions"].items()
        if before["versions"].get(name) != value
    ]
    if versions:
        found.append(f"Since the run began, {'; '.join(versions)}: its figures may differ.")
    threads = now.get("one_thread_per_operation")
    if before["one_thread_per_operation"] not in (None, threads):
        found.append(
            f"TensorFlow was started with one_thread_per_operation = {threads}, and with "
            f"{not threads} when the run began: sums are added in another order, and figures "
            f"may differ a little. Resume in a new process, before anything imports TensorFlow."
        )
    return found


def refusal(folder: Path, changed: Sequence[str]) -> RunFolderError:
    """Return the error of a run that cannot go on, since what it is made of was changed.

    Args:
        folder: The folder of the run's checkpoints.
        changed: What was changed, one line for each.
    """
    lines = "".join(f"\n  {item}" for item in changed)
    again = command_line(["run", str(folder.parent / "config.toml")])
    return RunFolderError(
        f"Cannot resume the run in {folder.parent}: since it began, these were changed:{lines}\n"
        f"Put that back as it was and resume, or begin a new run: {again}"
    )
