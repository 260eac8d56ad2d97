"""``tlkit run`` and ``tlkit resume``: one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tlkit.answering import JsonOption, answers
from tlkit.cli.parameters import SetOption
from tlkit.interruption import Watch, command_line
from tlkit.screen import say

if TYPE_CHECKING:
    from tlkit.documents.run import Run
    from tlkit.records import RunResult
    from tlkit.trainer import Trainer


@answers
def run(
    context: typer.Context,
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="Name of a recipe, or path of a TOML file; with --from by default its config."
        ),
    ] = None,
    set_: SetOption = None,
    from_: Annotated[
        Path | None,
        typer.Option("--from", metavar="RUN", help="Start from the weights of a finished run."),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder to make the run folder in.")] = Path("runs"),
    json_: JsonOption = False,
) -> Run | None:
    """Train, test and save a classifier."""
    from tlkit.config.building import build_trainer

    trainer = build_trainer(recipe, set_ or [], start_from=from_, runs=runs)
    trainer.one_thread_per_operation = not trainer.workflow.fine_tunes
    with Watch(command_line(context.obj)) as watch:
        trainer.listeners = [watch]
        return _run_document(trainer.run(), trainer)


def _run_document(result: RunResult, trainer: Trainer) -> Run | None:
    """Return what a run is told as; None at a worker that has no run folder."""
    from tlkit.documents.run import Run

    if not any(reporter.name == "rich" for reporter in trainer.reporters):
        for warning in result.warnings:
            say(f"Warning: {warning}")

    if result.folder is not None:
        return Run.of(result)
    say("This worker has ended its part; worker 0 has the run folder and reports.")
    return None


@answers
def resume(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a run that was interrupted.")
    ],
    json_: JsonOption = False,
) -> Run | None:
    """Go on with a run that was interrupted or killed."""
    from tlkit.config.building import build_resumed
    from tlkit.documents.run import Run
    from tlkit.mirror import fetched
    from tlkit.run_folder import load_run
    from tlkit.run_mirror import finish_upload
    from tlkit.unfinished import has_states

    if (finished := finish_upload(folder)) is not None:
        return Run.of(load_run(finished))
    trainer = build_resumed(folder)
    trainer.one_thread_per_operation = not trainer.workflow.fine_tunes
    before = fetched(folder)
    with Watch(command_line(context.obj), before, trained=has_states(before)) as watch:
        trainer.listeners = [watch]
        return _run_document(trainer.resume(folder), trainer)
