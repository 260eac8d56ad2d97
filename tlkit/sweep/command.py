"""What ``tlkit sweep`` does with its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.text import Text

from tlkit.documents.sweep import SweepDocument
from tlkit.interruption import Interrupted
from tlkit.sweep import Settings, Sweep, document, run_sweep
from tlkit.sweep.board import Board, figure, open_board, trials_table
from tlkit.sweep.files import BEST
from tlkit.text import printable
from tlkit.wording import percent, plural

_SHOWN, _PIPED_WIDTH = 5, 200


def sweep(
    source: str,
    space: Path,
    *,
    trials: int,
    metric: str,
    sampler: str,
    pruner: str,
    seed: int | None,
    overrides: Sequence[str],
    storage: str | None,
    study: str | None,
    engine: Literal["optuna", "ray"],
    address: str | None,
    test: bool,
    output: Path,
    quiet: bool,
    command: str,
) -> SweepDocument:
    """Run a sweep and show what came of it; the board goes to standard error.

    Args:
        source: The name of a recipe, or the path of a TOML file.
        space: The TOML file of the search space.
        trials: How many trials the study is to have.
        metric: What is optimised.
        sampler: Name of the sampler.
        pruner: Name of the pruner.
        seed: Of the sampler; None for the config's.
        overrides: ``TABLE.KEY=VALUE`` each.
        storage: The URL of the storage; None for the default.
        study: Name of the study; None for that of the run.
        engine: What runs the trials.
        address: Of the Ray cluster.
        test: Whether to test the best config and the config itself.
        output: Folder for the results.
        quiet: Print no table.
        command: What goes on after an interrupt.

    Raises:
        Interrupted: If it is interrupted, with what was kept and how to go on.
        TlkitError: If the input is bad, or the sweep cannot be made.
    """
    # The real name is known later; what the board shows until then is short.
    settings = Settings(metric, sampler, pruner, seed or 0, trials)
    board: Board | None = None
    try:
        with open_board(study or Path(source).stem, settings) as board:
            found = run_sweep(
                source,
                space,
                trials=trials,
                metric=metric,
                sampler=sampler,
                pruner=pruner,
                seed=seed,
                overrides=overrides,
                output=output,
                storage=storage,
                study=study,
                engine=engine,
                address=address,
                test=test,
                one_thread_per_operation=True,
                board=board,
            )
    except KeyboardInterrupt:
        done = len(board.trials) if board is not None else 0
        raise Interrupted(
            f"Interrupted after {plural(done, 'trial')}.\nKept: these, the best config so far, and "
            f"the features that are stored; the trial that was at work is tried again.",
            command,
        ) from None
    if not quiet:
        _show(found)
    return document(found)


def _show(found: Sweep) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=_PIPED_WIDTH, highlight=False)
    wraps = not console.is_terminal

    def tell(text: str) -> None:
        console.print(Text(printable(text)), soft_wrap=wraps)

    settings = found.settings
    if found.best is not None:
        console.print(trials_table(found.trials, settings, console.width, _SHOWN, "Trial"))
    pruned, failed = found.count("pruned"), found.count("failed")
    parts = [plural(len(found.trials), "trial")]
    parts += [f"{pruned:,} pruned"] if pruned else []
    parts += [f"{failed:,} failed"] if failed else []
    each = [item.seconds.get("total", 0.0) for item in found.trials]
    if each:
        parts.append(f"{sum(each) / len(each):.2f} s each")
    tell(f"{', '.join(parts)}; {found.seconds.get('total', 0.0):.0f} s in all.")
    reasons = {item.error: item.number for item in reversed(found.trials) if item.error}
    for reason, number in list(reversed(reasons.items()))[:3]:
        tell(f"Failed, such as trial {number}: {reason}")
    importance = found.importance
    if importance is not None and importance.shares:
        shares = ", ".join(f"{key} {100 * share:.0f} %" for key, share in importance.shares.items())
        tell(f"What {settings.metric} varies with ({importance.evaluator}): {shares}.")
    elif importance is not None:
        tell(f"Which keys matter is not known: {importance.reason}.")
    _show_test(found, tell)
    for note in found.notes:
        tell(note)
    if found.folder is not None and found.best is not None:
        tell(f"Best config: {found.folder / BEST}")
    if found.report is not None:
        tell(f"Report: {found.report}")


def _show_test(found: Sweep, tell: object) -> None:
    assert callable(tell)
    tested, best = found.tested, found.best
    if tested is None or best is None:
        return
    for name, cell in (("default", tested.default), ("best", tested.best)):
        if cell.figures is None:
            tell(f"The run of the {name} config failed: {cell.error}")
            return
        low, high = cell.figures.interval or (cell.figures.accuracy, cell.figures.accuracy)
        tell(
            f"Test accuracy, {name}: {percent(cell.figures.accuracy)} "
            f"({100 * low:.1f}-{100 * high:.1f})"
        )
        if tested.default is tested.best:
            tell("No trial was better than the config as it is.")
            return
    tell(tested.sentence)
    if found.settings.metric == "val_accuracy":
        tell(
            f"The best trial's validation accuracy, {figure(best.value)}, is the largest of "
            f"{plural(found.count('finished'), 'trial')}, and so flatters it; the test accuracy "
            f"does not."
        )
