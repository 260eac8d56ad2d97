"""What ``tlkit report`` does with its arguments."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from tlkit.errors import RunFolderError
from tlkit.report.index import run_folders, write_index
from tlkit.report.page import write_report
from tlkit.report.rendering import require_extra
from tlkit.run_folder import CONFIG, RUN, load_run
from tlkit.text import printable


def write(folder: Path, show: bool) -> None:
    """Write the report of a run, or the index of a folder of runs, and print its path.

    Args:
        folder: A run folder, or a folder of run folders.
        show: Open the page in the browser.

    Raises:
        TlkitError: If the folder is neither, or the page cannot be made.
    """
    require_extra()
    folder = folder.expanduser()
    is_run = any((folder / name).is_file() for name in (RUN, CONFIG))
    if folder.is_dir() and not is_run and not run_folders(folder):
        raise RunFolderError(
            f"{folder} is neither the folder of a run nor a folder of runs. Give one that "
            f"`tlkit run` made, such as runs/TIME-NAME, or the folder of all, such as runs."
        )
    path = write_index(folder) if folder.is_dir() and not is_run else write_report(load_run(folder))
    print(f"{printable(str(path))} ({path.stat().st_size / 1e6:.1f} MB)")
    if show and not webbrowser.open(path.resolve().as_uri()):
        print("No browser was found; open the file by hand.")
