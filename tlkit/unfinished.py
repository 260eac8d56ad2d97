"""Unfinished runs: found, told of, and checked before they go on."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlkit.beginning import BEGUN, check_settings, read_begun
from tlkit.changed_values import changed_settings
from tlkit.checkpoint import CHECKPOINT
from tlkit.errors import RunFolderError
from tlkit.interruption import command_line
from tlkit.paths import expand_home
from tlkit.run_folder import CONFIG, RUN, config_text, own
from tlkit.screen import GO_ON
from tlkit.store_urls import is_url
from tlkit.wording import plural

_MOST_NAMED = 10


def find_unfinished(folder: Path) -> Path:
    """Return the config of a run that was begun and not finished.

    Raises:
        RunFolderError: If there is none in this folder.
    """
    if (folder / RUN).is_file():
        raise RunFolderError(
            f"The run in {folder} is finished; there is nothing to resume. See it with `tlkit "
            f"report {folder}`."
        )
    if (folder / CONFIG).is_file():
        return folder / CONFIG
    wanted = "Allowed: the folder of a run that did not finish, such as runs/TIME-NAME"
    if folder.is_file() or folder.is_symlink():
        holds = (folder.parent / CONFIG).is_file()
        hint = f"\n{_resume_line(folder.parent)}" if holds else ""
        raise RunFolderError(f"Cannot resume {folder}: it is a file. {wanted}.{hint}")
    if not folder.is_dir():
        raise RunFolderError(f"Cannot resume {folder}: it does not exist. {wanted}.")
    found = unfinished_runs(folder)
    if found:
        raise RunFolderError(
            f"Cannot resume {folder}: it is a folder of runs. {name_unfinished(found)}"
        )
    raise RunFolderError(
        f"Cannot resume {folder}: it is no run folder, as it has no {CONFIG}, and holds no run "
        f"that did not finish. {wanted}."
    )


def unfinished_runs(runs: Path) -> list[Path]:
    """Return the folders among others that hold a run that was begun and not finished."""
    found = (path.parent for path in runs.glob(f"*/{CONFIG}"))
    return sorted(path for path in found if not (path / RUN).is_file())


def unfinished_run(runs: Path, config: Mapping[str, Any]) -> Path | None:
    """Return the newest folder among others that holds an unfinished run of a config, if any."""
    wanted = config_text(config)
    for path in sorted(runs.glob(f"*/{CONFIG}"), reverse=True):
        try:
            found = path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue
        if found == wanted and not (path.parent / RUN).exists():
            return path.parent
    return None


def name_unfinished(found: Sequence[Path]) -> str:
    """Return what a user is told of unfinished runs: their number, and a command for each."""
    shown = found[-_MOST_NAMED:]
    older = f" (the last {len(shown)})" if len(shown) < len(found) else ""
    lines = [f"{plural(len(found), 'run')} there did not finish{older}:", *map(_resume_line, shown)]
    return "\n".join(lines)


def _resume_line(folder: Path) -> str:
    return f"{GO_ON}{command_line(['resume', str(folder)])}"


def check_unfinished(folder: Path, config: Mapping[str, Any]) -> None:
    """Check that a folder holds a run of this config that was begun, not finished, and is not on.

    Settings that no figure depends on may differ; see ``tlkit.changed_values``.

    Raises:
        RunFolderError: If it does not.
    """
    where = find_unfinished(folder)
    if has_checkpoints(folder):
        with own(folder, patience=0):
            pass
    try:
        changed = changed_settings(where.read_text(encoding="utf-8"), config_text(config))
    except (OSError, ValueError, RecursionError) as err:
        reason = getattr(err, "strerror", None) or err
        raise RunFolderError(f"Cannot read {where}: {reason}.") from err
    if changed:
        raise RunFolderError(
            f"The run in {folder} was begun with other settings; they are in {where}: "
            f"{'; '.join(changed)}. Resume it with those, or begin a new run with these."
        )
    check_settings(folder / CHECKPOINT, config_text(config))


def has_checkpoints(folder: Path) -> bool:
    """Return whether the hidden folder of a run's checkpoints is there."""
    return (folder / CHECKPOINT).is_dir()


def has_states(folder: Path) -> bool:
    """Return whether a run folder holds a state of training; whether it is whole is not checked."""
    return any(map(zipfile.is_zipfile, (folder / CHECKPOINT).glob("phase-*.npz")))


def begun_facts(folder: Path) -> dict[str, Any]:
    """Return what a run noted of itself when it began; nothing where that is missing."""
    return read_begun(folder / CHECKPOINT) or {}


def has_begun(folder: Path) -> bool:
    """Return whether a run has come so far that it can be resumed: its data and model are there."""
    return (folder / CHECKPOINT / BEGUN).is_file()


def note_relative_paths(err: Exception, folder: Path, options: Mapping[str, Any]) -> None:
    """Add to an error of a resumed run's data set which paths of it depend on the working folder.

    Args:
        err: What the data set raised.
        folder: The run folder.
        options: Those of the data set.
    """
    before, now = begun_facts(folder).get("working_folder"), str(Path.cwd())
    for name, value in options.items():
        if not isinstance(value, str) or not value or is_url(value) or before == now:
            continue
        path = expand_home(value)
        if path.is_absolute() or path.exists() or value not in str(err):
            continue
        where = f", {before}" if before else ""
        err.add_note(
            f"dataset.{name} = {value!r} is relative to the folder that the run was begun in"
            f"{where}; this is {now}. Resume it from there."
        )
