"""The command line: commands, and nothing else."""

from __future__ import annotations

import functools
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, ParamSpec

import typer

from tlkit import __version__
from tlkit.errors import TlkitError

P = ParamSpec("P")
EXIT_FAILED, EXIT_INTERRUPTED = 1, 130

app = typer.Typer(
    name="tlkit",
    help="Image classification by transfer learning.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
recipes_app = typer.Typer(help="List the recipes that ship with tlkit, or print one.")
cache_app = typer.Typer(help="List or delete stored features.", no_args_is_help=True)
app.add_typer(recipes_app, name="recipes")
app.add_typer(cache_app, name="cache")

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def _with_exit_codes(command: Callable[P, None]) -> Callable[P, None]:
    """Turn what a command raises into one message and an exit code."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except TlkitError as err:
            print(f"error: {err}", file=sys.stderr)
            raise typer.Exit(err.exit_code) from err
        except KeyboardInterrupt as err:
            print(
                "Interrupted. Kept: the features computed so far (the next run goes on from there) "
                "and the run folder with its config. Give the same command to start again.",
                file=sys.stderr,
            )
            raise typer.Exit(EXIT_INTERRUPTED) from err

    return wrapped


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


@app.command()
@_with_exit_codes
def run(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe, or path of a TOML file.")],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="TABLE.KEY=VALUE", help="Change one setting; may be given again."
        ),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder to make the run folder in.")] = Path("runs"),
) -> None:
    """Train, test and save a classifier."""
    from tlkit.config import build_trainer

    trainer = build_trainer(recipe, set_ or [], runs=runs)
    trainer.one_thread_per_operation = not trainer.workflow.fine_tunes
    trainer.run()


@recipes_app.callback(invoke_without_command=True)
@_with_exit_codes
def recipes_list(context: typer.Context) -> None:
    """List the recipes that ship with tlkit."""
    if context.invoked_subcommand is None:
        from tlkit.config import recipes

        for name, text in recipes().items():
            lines = [line[1:].strip() for line in text.splitlines() if line.startswith("#")]
            print(f"{name:<12} {' '.join(lines).split(': ')[0].rstrip('.')}.")


@recipes_app.command("show")
@_with_exit_codes
def recipes_show(name: Annotated[str, typer.Argument(help="Name of a recipe.")]) -> None:
    """Print a recipe, to copy and change."""
    from tlkit.config import recipe

    print(recipe(name), end="")


@app.command()
@_with_exit_codes
def bench(
    data: Annotated[
        Path, typer.Argument(help="CIFAR-10 as .npz with x_train, y_train, x_test, y_test.")
    ],
    case: Annotated[
        list[str] | None,
        typer.Option(
            "--case",
            help="classic, pixels-96, five-heads or start-up; may be given again. All by default.",
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(help="How often to measure each side.")] = 3,
    images: Annotated[
        int | None, typer.Option(help="Use so many training images only, and a fifth to test.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("bench"),
) -> None:
    """Time whole jobs against plain Keras; continue an interrupted bench."""
    from tlkit.bench import run_bench

    try:
        run_bench(case or [], data, rounds, output, images, lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        print(
            f"Interrupted. What was measured is kept in {output}; give the same command to go on.",
            file=sys.stderr,
        )
        raise typer.Exit(EXIT_INTERRUPTED) from None


@app.command()
@_with_exit_codes
def compare(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="A recipe or TOML file, to run a grid; or two or more folders of finished runs.",
        ),
    ],
    backbones: Annotated[str, typer.Option(help="Names of backbones, with commas.")] = "",
    heads: Annotated[str, typer.Option(help="Names of heads, with commas.")] = "",
    few_shot: Annotated[
        str, typer.Option(help="Images of each class to train on, such as 1,5,20,all.")
    ] = "",
    seeds: Annotated[str, typer.Option(help="Seeds, such as 0,1,2.")] = "",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="TABLE.KEY=VALUE", help="Change one setting; may be given again."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for the results; of a grid by default ./comparison."),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Compare backbones, heads and few images in a grid, or finished runs side by side."""
    from tlkit.compare.command import compare_sources

    grid = {
        "--backbones": backbones,
        "--heads": heads,
        "--few-shot": few_shot,
        "--seeds": seeds,
    }
    failed = compare_sources(sources, grid, set_ or [], output, json_)
    if failed:
        raise typer.Exit(EXIT_FAILED)


@app.command()
@_with_exit_codes
def report(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="Folder of a finished run; or a folder of runs, for an index."
        ),
    ],
    open_: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
) -> None:
    """Write the HTML report of a run, or an index page that compares the runs of a folder."""
    from tlkit.report.command import write

    write(folder, open_)


@app.command()
@_with_exit_codes
def plugins(json_: JsonOption = False) -> None:
    """List plugins: kind, name, where they come from; and packages that failed to load."""
    from tlkit.registry import Registry

    registry = Registry()
    if json_:
        entries = [
            {
                "kind": entry.kind,
                "name": entry.name,
                "distribution": entry.distribution,
                "version": entry.version,
                "summary": entry.plugin.summary(),
            }
            for entry in registry.list()
        ]
        broken = [asdict(item) for item in registry.broken]
        print(json.dumps({"schema_version": 1, "plugins": entries, "broken": broken}, indent=2))
        return
    rows = [
        (entry.kind, entry.name, f"{entry.distribution} {entry.version}", entry.plugin.summary())
        for entry in registry.list()
    ]
    _print_table(("Kind", "Name", "From", "What"), rows)
    for item in registry.broken:
        source = f"{item.distribution} {item.version}".strip()
        _echo(f"Broken: {source}, entry point {item.entry_point}: {item.reason}")


@cache_app.command("list")
@_with_exit_codes
def cache_list(json_: JsonOption = False) -> None:
    """List stored features: backbone, images, size, age."""
    import time

    from tlkit.features import FeatureStore

    store = FeatureStore()
    entries = store.entries()
    if json_:
        print(
            json.dumps(
                {
                    "schema_version": 1,
                    "folder": str(store.folder),
                    "entries": [asdict(entry) for entry in entries],
                },
                indent=2,
            )
        )
        return
    rows = [
        (
            entry.fingerprint[:12],
            entry.backbone,
            entry.images,
            entry.dtype,
            "x".join(str(side) for side in entry.shape),
            f"{entry.bytes / 1e6:.1f} MB",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.modified)),
            "whole" if entry.complete else "interrupted: the next run continues it",
        )
        for entry in entries
    ]
    _print_table(("Key", "Backbone", "Images", "Type", "Shape", "Size", "Written", "State"), rows)
    _echo(f"{sum(entry.bytes for entry in entries) / 1e6:.1f} MB in {store.folder}")


@cache_app.command("clear")
@_with_exit_codes
def cache_clear() -> None:
    """Delete stored features and what engines were measured at; both are made again when needed."""
    from tlkit.engine_choice import engines_folder, forget
    from tlkit.features import FeatureStore

    store = FeatureStore()
    _echo(f"Freed {store.clear() / 1e6:.1f} MB in {store.folder}")
    forget(engines_folder(store.folder))


@app.command()
@_with_exit_codes
def predict(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Files and folders.")],
    top: Annotated[int, typer.Option(min=1, help="How many classes to give.")] = 1,
    json_: JsonOption = False,
) -> None:
    """Classify pictures with the model of a finished run."""
    from tlkit import printable
    from tlkit.predictor import predict as predict_pictures

    found = []
    for item in predict_pictures(run_folder, images, top):
        found.append(item)
        if json_:
            continue
        if item.error is not None:
            print(f"error: {printable(item.error)}", file=sys.stderr)
            continue
        answers = zip(item.classes, item.confidences, strict=True)
        text = "  ".join(f"{printable(name)} {share:.1%}" for name, share in answers)
        print(f"{printable(item.path)}  {text}")
    if json_:
        predictions = [asdict(item) for item in found]
        print(json.dumps({"schema_version": 1, "predictions": predictions}, indent=2))
    if any(item.error is not None for item in found):
        raise typer.Exit(EXIT_FAILED)


def _print_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def _echo(text: str) -> None:
    from tlkit import printable

    print(printable(text))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    from tlkit.runtime import keep_freed_memory

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", category=RuntimeWarning, message="Reporter '.*")
    keep_freed_memory()
    app(arguments)
