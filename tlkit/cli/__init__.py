"""The command line: all commands in the order in which they are listed, and how it is started.

A command is a function of one of these modules; what it does stands elsewhere and is imported when
it is called, so that ``tlkit --help`` answers at once.
"""

from __future__ import annotations

import os
import warnings
from typing import Annotated

import typer

from tlkit import __version__
from tlkit.answering import call
from tlkit.cli import cache, experiments, finished_runs, plugins, recipes, schema, training
from tlkit.cli.unknown_words import Command, Group, OneRunCommand

app = typer.Typer(
    cls=Group,
    name="tlkit",
    help="Image classification by transfer learning.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(value: bool) -> None:
    if value:
        print(f"tlkit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    """Image classification by transfer learning."""


ONE_RUN = (
    training.resume,
    finished_runs.report,
    finished_runs.serve,
    finished_runs.export,
    finished_runs.card,
)
for command in (
    training.run,
    training.resume,
    experiments.bench,
    experiments.compare,
    experiments.sweep,
    finished_runs.report,
    plugins.plugins,
    plugins.check,
    plugins.new_plugin,
    finished_runs.predict,
    finished_runs.serve,
    finished_runs.explain,
    finished_runs.export,
    finished_runs.card,
    schema.schema,
):
    app.command(cls=OneRunCommand if command in ONE_RUN else Command)(command)
app.add_typer(recipes.recipes_app, name="recipes")
app.add_typer(cache.cache_app, name="cache")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    from tlkit.runtime import keep_freed_memory

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", category=RuntimeWarning, message="Reporter '.*")
    keep_freed_memory()
    call(app, arguments)
