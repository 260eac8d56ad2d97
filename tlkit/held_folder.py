"""The run folder while a run holds it: made or taken over, and what is left where the run fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tlkit import run_folder, run_mirror
from tlkit.atomic import remove_unfinished
from tlkit.checkpoint import Checkpoints
from tlkit.errors import RunFolderError, StoreFailedError, TlkitError, WorkerLostError
from tlkit.interruption import command_line
from tlkit.run_claim import Claim
from tlkit.screen import GO_ON
from tlkit.unfinished import find_unfinished, has_begun, has_checkpoints


@contextmanager
def held_folder(
    folder: Path,
    claim: Claim | None,
    config: dict[str, Any],
    warnings: list[str],
    *,
    resumed: bool,
) -> Iterator[Checkpoints]:
    """Hold a run folder, and yield its checkpoints.

    A run that is refused leaves none; one that the machine stopped, as by a full disk, can be
    resumed as one that was interrupted.

    Args:
        folder: The run folder; it exists.
        claim: The folder at a URL that it is the copy of, which this process owns.
        config: The resolved config of the run, which is written into it.
        warnings: Told what cannot be kept or uploaded.
        resumed: Whether an earlier process began the run.

    Raises:
        RunFolderError: If a run works in the folder already, or it cannot be written.
    """
    if resumed:
        find_unfinished(folder)  # another process may have ended it by now
    missing = resumed and not has_checkpoints(folder)
    try:
        with run_mirror.mirrored(folder, claim, warnings), run_folder.own(folder) as checkpoints:
            if resumed:
                remove_unfinished(folder)
            # Also where it is resumed with other reporters: the config is that of the result.
            run_folder.write_config(folder, config)
            try:
                yield Checkpoints(checkpoints, warnings, resumed, missing)
            except TlkitError as err:
                if has_begun(folder) and _came_from_the_machine(err):
                    err.add_note(f"{GO_ON}{command_line(['resume', str(folder)])}")
                elif not resumed and not isinstance(err, RunFolderError):
                    run_folder.discard(folder)
                raise
    except BaseException:
        # Ctrl-C before the config was there: nobody could resume that.
        if not resumed and folder.is_dir() and not (folder / run_folder.CONFIG).exists():
            run_folder.discard(folder)
        raise


def _came_from_the_machine(err: BaseException) -> bool:
    """Return whether it began with what the system refused, or lost: a full disk, a worker."""
    if isinstance(err, (StoreFailedError, WorkerLostError)):
        return True
    if isinstance(err, RunFolderError) or err.__cause__ is None:
        return False  # of its own folder a run says itself how to go on
    return isinstance(err.__cause__, OSError) or _came_from_the_machine(err.__cause__)
