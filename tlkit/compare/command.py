"""What ``tlkit compare`` does with its arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from tlkit.compare import compare_grid, compare_runs
from tlkit.compare.files import FEW_SHOT_PICTURE, PICTURE, document
from tlkit.compare.grid import FewShot
from tlkit.compare.records import Comparison
from tlkit.compare.table import show
from tlkit.config.recipes import recipes
from tlkit.documents.compare import ComparisonDocument
from tlkit.errors import ConfigError
from tlkit.interruption import Interrupted
from tlkit.store_urls import local_place
from tlkit.text import printable

PIPED_WIDTH = 200


def compare_sources(
    sources: Sequence[str],
    grid: Mapping[str, str],
    overrides: Sequence[str],
    output: Path | None,
    *,
    quiet: bool,
    command: str = "the same command",
) -> ComparisonDocument:
    """Run a grid or compare finished runs, and show the result; progress goes to stderr.

    Args:
        sources: One recipe or TOML file, or two or more run folders.
        grid: The values of ``--backbones``, ``--heads``, ``--few-shot`` and ``--seeds``; empty if
            not given.
        overrides: ``TABLE.KEY=VALUE`` each; for a grid only.
        output: Folder for the results.
        quiet: Print no table.
        command: What to give to go on after an interrupt.

    Raises:
        Interrupted: If it is interrupted, with what was kept and how to go on.
        TlkitError: If the arguments do not fit together, or the comparison cannot be made.
    """
    configs = [item for item in sources if item in recipes() or item.endswith(".toml")]
    if len(sources) == 1 and (configs or not local_place(sources[0]).is_dir()):
        comparison = _grid(sources[0], grid, overrides, output or Path("comparison"), command)
    elif len(sources) > 1 and not configs:
        given = [name for name, value in grid.items() if value] + ["--set"] * bool(overrides)
        if given:
            raise ConfigError(
                f"{given[0]} is for a grid, and {sources[0]} is the folder of a finished run. Give "
                f"a recipe or TOML file instead, or leave {given[0]} out."
            )
        comparison = compare_runs(sources, output=output)
    else:
        listed = [name for name, value in grid.items() if value]
        hint = f" A list has commas and no spaces: {listed[0]} A,B." if listed else ""
        raise ConfigError(
            f"Cannot compare {', '.join(sources)}.{hint} Allowed: one recipe or TOML file, to run "
            f"a grid; or two or more folders of finished runs."
        )
    if not quiet:
        _show(comparison)
    return document(comparison)


def _grid(
    source: str, grid: Mapping[str, str], overrides: Sequence[str], output: Path, command: str
) -> Comparison:
    console = Console(stderr=True, highlight=False)
    finished = 0

    def say(text: str) -> None:
        nonlocal finished
        finished += 1
        for line in text.split("\n"):
            console.print(printable(line), markup=False, soft_wrap=True)

    try:
        with console.status("starting") as status:
            return compare_grid(
                source,
                backbones=_names(grid["--backbones"]),
                heads=_names(grid["--heads"]),
                few_shot=_counts(grid["--few-shot"]),
                seeds=_seeds(grid["--seeds"]),
                overrides=overrides,
                output=output,
                one_thread_per_operation=True,
                say=say,
                status=lambda text: status.update(printable(text).replace("[", "\\[")),
            )
    except KeyboardInterrupt:
        cells = "1 cell" if finished == 1 else f"{finished} cells"
        raise Interrupted(
            f"Interrupted after {cells}.\nKept: these in {output}, and the features that are "
            f"stored.",
            command,
        ) from None


def _show(comparison: Comparison) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=PIPED_WIDTH, highlight=False)
    show(comparison, console)
    if comparison.folder is not None:
        pictures = [comparison.folder / name for name in (PICTURE, FEW_SHOT_PICTURE)]
        where = ", ".join(str(path) for path in pictures if path.is_file()) or comparison.folder
        console.print(printable(f"Results: {where}"), markup=False, soft_wrap=True)


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _counts(text: str) -> list[FewShot]:
    try:
        return ["all" if part == "all" else int(part) for part in _names(text)]
    except ValueError as err:
        raise ConfigError(
            f"--few-shot {text} is not allowed: numbers of images of each class with commas, or "
            f"all, such as 1,5,20,all."
        ) from err


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in _names(text)]
    except ValueError as err:
        raise ConfigError(
            f"--seeds {text} is not allowed: whole numbers with commas, such as 0,1,2."
        ) from err
