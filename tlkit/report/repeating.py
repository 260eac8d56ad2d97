"""How to run a run again: its command, its packages and its config."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from tlkit.records import RunInfo, RunResult
from tlkit.report.words import LONG_TEXT_LIMIT, text
from tlkit.run_folder import CONFIG, config_text

_MACHINE = ("python", "platform", "processor", "cpu_count")


def command(result: RunResult) -> str:
    """Return the command that runs the config again."""
    path = CONFIG if result.folder is None else str(result.folder / CONFIG)
    return f"tlkit run {shlex.quote(text(path, LONG_TEXT_LIMIT))}"


def install_command(environment: Mapping[str, str]) -> str:
    """Return the command that installs the versions that the run was made with."""
    pins = [f"{key}=={value}" for key, value in environment.items() if key not in _MACHINE]
    return f"pip install {' '.join(shlex.quote(text(pin)) for pin in pins)}" if pins else ""


def config_lines(info: RunInfo) -> str:
    """Return the resolved config as TOML, what changes nothing in this run marked as such.

    Its line ends stay, other control characters do not.
    """
    lines, kind = [], ""
    for line in config_text(info.config).splitlines():
        if line.startswith("["):
            kind = line.strip("[]")
        idle = line.partition(" = ")[0] in info.idle_options.get(kind, ())
        shown = text(line.replace("\t", "    "), LONG_TEXT_LIMIT)
        lines.append(f"{shown}  # changes nothing in this run" if idle else shown)
    return "\n".join(lines)


def is_repeatable(info: RunInfo) -> bool:
    """Return whether a config file can hold all that the run was made of."""
    return "<" not in "".join(_strings(info.config))


def _strings(value: object) -> Iterable[str]:
    """Yield ``<`` for each value that a config file can only describe."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, str):
        if re.fullmatch(r"<[\w.]+( .*)?>", value):
            yield "<"
    elif value is not None and not isinstance(value, bool | int | float | Path):
        yield "<"
