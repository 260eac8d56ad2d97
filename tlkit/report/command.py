"""What ``tlkit report`` does with its arguments."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Literal

from tlkit.errors import RunFolderError
from tlkit.mirror import fetched
from tlkit.report.index import run_folders, write_index
from tlkit.report.page import write_report
from tlkit.report.rendering import require_extra
from tlkit.report.sweep_page import is_sweep, write_sweep_report
from tlkit.run_folder import CONFIG, RUN, is_summary, load_run
from tlkit.screen import say
from tlkit.unfinished import name_unfinished, unfinished_runs


def write(folder: Path, show: bool) -> tuple[Path, Literal["run", "index", "sweep"]]:
    """Write the report of a run or a sweep, or the index of a folder of runs.

    Args:
        folder: A run folder, the folder of a sweep, or a folder of run folders; or its URL.
        show: Open the page in the browser.

    Returns:
        The page, and which of them it is.

    Raises:
        TlkitError: If the folder is none of them, or the page cannot be made.
    """
    require_extra()
    folder = fetched(folder, is_summary)
    if is_sweep(folder):
        path = write_sweep_report(folder)
        _show(path, show)
        return path, "sweep"
    is_run = any((folder / name).is_file() for name in (RUN, CONFIG))
    if folder.is_dir() and not is_run and not run_folders(folder):
        raise RunFolderError(
            f"{folder} is neither the folder of a run nor a folder of runs. Give one that "
            f"`tlkit run` made, such as runs/TIME-NAME, or the folder of all, such as runs."
        )
    index = folder.is_dir() and not is_run
    path = write_index(folder) if index else write_report(load_run(folder))
    unfinished = unfinished_runs(folder) if index else []
    if unfinished:
        say(name_unfinished(unfinished))
    _show(path, show)
    return path, "index" if index else "run"


def _show(path: Path, show: bool) -> None:
    if show and not webbrowser.open(path.resolve().as_uri()):
        say("No browser was found; open the file by hand.")
