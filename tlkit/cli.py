"""The command line: commands, and nothing else."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tlkit import __version__
from tlkit.answering import Continuing, JsonOption, answers, call
from tlkit.errors import ConfigError
from tlkit.interruption import Interrupted, Watch, command_line
from tlkit.screen import say, show_groups, show_table

if TYPE_CHECKING:
    from tlkit.documents.bench import Bench
    from tlkit.documents.cache import Cache, CacheCleared
    from tlkit.documents.card import Card
    from tlkit.documents.compare import ComparisonDocument
    from tlkit.documents.explain import Explanations
    from tlkit.documents.export import ExportDocument
    from tlkit.documents.plugins import Checks, NewPlugin, Plugins
    from tlkit.documents.predict import Predictions
    from tlkit.documents.recipes import Recipe, Recipes
    from tlkit.documents.report import Report
    from tlkit.documents.run import Run
    from tlkit.documents.schema import Schemas
    from tlkit.documents.sweep import SweepDocument
    from tlkit.records import RunResult

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
@answers
def run(
    context: typer.Context,
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="Name of a recipe, or path of a TOML file; with --from by default its config."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="TABLE.KEY=VALUE", help="Change one setting; may be given again."
        ),
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option("--from", metavar="RUN", help="Start from the weights of a finished run."),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder to make the run folder in.")] = Path("runs"),
    json_: JsonOption = False,
) -> Run | None:
    """Train, test and save a classifier."""
    from tlkit.config import build_trainer

    trainer = build_trainer(recipe, set_ or [], start_from=from_, runs=runs)
    trainer.one_thread_per_operation = not trainer.workflow.fine_tunes
    with Watch(command_line(context.obj)) as watch:
        trainer.listeners = [watch]
        return _run_document(trainer.run())


def _run_document(result: RunResult) -> Run | None:
    """Return what a run is told as; None at a worker that has no run folder."""
    from tlkit.documents.run import Run

    if result.folder is not None:
        return Run.of(result)
    say("This worker has ended its part; worker 0 has the run folder and reports.")
    return None


@app.command()
@answers
def resume(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a run that was interrupted.")
    ],
    json_: JsonOption = False,
) -> Run | None:
    """Go on with a run that was interrupted or killed, from its last epoch."""
    from tlkit.config import build_resumed
    from tlkit.documents.run import Run
    from tlkit.mirror import fetched
    from tlkit.run_folder import has_states, load_run
    from tlkit.run_mirror import finish_upload

    if (finished := finish_upload(folder)) is not None:
        return Run.of(load_run(finished))
    trainer = build_resumed(folder)
    trainer.one_thread_per_operation = not trainer.workflow.fine_tunes
    before = fetched(folder)
    with Watch(command_line(context.obj), before, trained=has_states(before)) as watch:
        trainer.listeners = [watch]
        return _run_document(trainer.resume(folder))


@recipes_app.callback(invoke_without_command=True)
@answers
def recipes_list(context: typer.Context, json_: JsonOption = False) -> Recipes | None:
    """List the recipes that ship with tlkit."""
    if context.invoked_subcommand is not None:
        if json_:
            raise ConfigError("Give --json at the end: tlkit recipes show NAME --json.")
        return None
    from tlkit.config import recipes
    from tlkit.documents.recipes import Recipes, RecipeSummary

    rows = []
    for name, text in recipes().items():
        lines = [line[1:].strip() for line in text.splitlines() if line.startswith("#")]
        rows.append((name, f"{' '.join(lines).split(': ')[0].rstrip('.')}."))
    if not json_:
        show_table(("Recipe", "What"), rows)
    return Recipes(recipes=[RecipeSummary(name=name, summary=text) for name, text in rows])


@recipes_app.command("show")
@answers
def recipes_show(
    name: Annotated[str, typer.Argument(help="Name of a recipe.")], json_: JsonOption = False
) -> Recipe:
    """Print a recipe, to copy and change."""
    from tlkit.config import recipe
    from tlkit.documents.recipes import Recipe

    document = Recipe(name=name, toml=recipe(name))
    if not json_:
        print(document.toml, end="")
    return document


@app.command()
@answers
def bench(
    context: typer.Context,
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
    json_: JsonOption = False,
) -> Bench:
    """Time whole jobs against plain Keras.

    With the same output an interrupted bench goes on.
    """
    from tlkit.bench import run_bench
    from tlkit.documents.bench import Bench

    try:
        found = run_bench(
            case or [], data, rounds, output, images, lambda line: print(line, flush=True)
        )
    except KeyboardInterrupt:
        raise Interrupted(
            f"Interrupted.\nKept: what was measured, in {output}.", command_line(context.obj)
        ) from None
    return Bench.model_validate({**found, **found["summary"], "folder": output, "images": images})


@app.command()
@answers
def compare(
    context: typer.Context,
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
) -> ComparisonDocument:
    """Compare models in a grid, or finished runs side by side.

    A grid runs every backbone with every head, number of images and seed; the cells that are
    finished are kept, and an interrupted grid goes on.
    """
    from tlkit.compare.command import compare_sources

    grid = {
        "--backbones": backbones,
        "--heads": heads,
        "--few-shot": few_shot,
        "--seeds": seeds,
    }
    return compare_sources(
        sources, grid, set_ or [], output, quiet=json_, command=command_line(context.obj)
    )


@app.command()
@answers
def sweep(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="Name of a recipe, or path of a TOML file.")],
    space: Annotated[Path, typer.Option(help="TOML file of the keys to vary and their ranges.")],
    trials: Annotated[int, typer.Option(help="How many trials the study is to have.")] = 50,
    metric: Annotated[str, typer.Option(help="val_accuracy or val_loss.")] = "val_accuracy",
    sampler: Annotated[str, typer.Option(help="tpe, random, qmc, grid or cma-es.")] = "tpe",
    pruner: Annotated[
        str, typer.Option(help="none, median, successive-halving or hyperband.")
    ] = "none",
    seed: Annotated[
        int | None, typer.Option(help="Of the sampler; by default the config's.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="TABLE.KEY=VALUE", help="Change one setting; may be given again."
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="sqlite:///PATH, journal:PATH or postgresql://HOST/DATABASE; by default "
            "TLKIT_SWEEP_STORAGE, else SQLite in the output folder.",
        ),
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Name in the storage; by default the run's.")
    ] = None,
    on: Annotated[
        Literal["optuna", "ray"],
        typer.Option(help="Trials in this process, or on a Ray cluster with ASHA."),
    ] = "optuna",
    address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster; by default one on this machine.")
    ] = None,
    test: Annotated[
        bool, typer.Option("--test/--no-test", help="Test the best and the default in the end.")
    ] = True,
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("sweep"),
    json_: JsonOption = False,
) -> SweepDocument:
    """Try many variations of a config, and keep the best.

    Trials share one feature store and are measured on the validation images. The same command goes
    on with an interrupted sweep; started more than once with one storage, it works on one study.
    """
    from tlkit.sweep.command import sweep as run

    return run(
        recipe,
        space,
        trials=trials,
        metric=metric,
        sampler=sampler,
        pruner=pruner,
        seed=seed,
        overrides=set_ or [],
        storage=storage,
        study=study,
        engine=on,
        address=address,
        test=test,
        output=output,
        quiet=json_,
        command=command_line(context.obj),
    )


@app.command()
@answers
def report(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="Folder of a finished run or of a sweep; or a folder of runs, for an index.",
        ),
    ],
    open_: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
    json_: JsonOption = False,
) -> Report:
    """Write the HTML page of a run or a sweep, or an index of all runs."""
    from tlkit.documents.report import Report
    from tlkit.report.command import write

    path, kind = write(folder, open_)
    if not json_:
        _echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
    return Report(source=folder, kind=kind, file=path)


@app.command()
@answers
def plugins(json_: JsonOption = False) -> Plugins:
    """List the plugins, and packages that failed to load."""
    from tlkit.documents.plugins import BrokenPlugin, PluginEntry, Plugins
    from tlkit.registry import Registry

    registry = Registry()
    document = Plugins(
        plugins=[
            PluginEntry(
                kind=entry.kind,
                name=entry.name,
                distribution=entry.distribution,
                version=entry.version,
                summary=entry.plugin.summary(),
            )
            for entry in registry.list()
        ],
        broken=[BrokenPlugin.model_validate(item) for item in registry.broken],
    )
    if json_:
        return document
    if sys.stdout.isatty():
        groups: dict[str, list[tuple[str, str]]] = {}
        for entry in document.plugins:
            built_in = entry.distribution == "tlkit"
            source = "" if built_in else f" From {entry.distribution} {entry.version}."
            groups.setdefault(f"{entry.kind.capitalize()}s", []).append(
                (entry.name, f"{entry.summary}{source}")
            )
        show_groups(groups)
    else:
        rows = [
            (entry.kind, entry.name, f"{entry.distribution} {entry.version}", entry.summary)
            for entry in document.plugins
        ]
        show_table(("Kind", "Name", "From", "What"), rows)
    for item in document.broken:
        source = f"{item.distribution} {item.version}".strip()
        say(f"Broken: {source}, entry point {item.entry_point}: {item.reason}")
    for text in registry.warnings:
        say(f"Warning: {text}")
    return document


@app.command()
@answers
def check(
    target: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE.py",
            help="A registered name; or a file, FILE.py:CLASS for one class of it.",
        ),
    ],
    kind: Annotated[
        str | None, typer.Option(help="Its kind, where several plugins have that name.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A keyword of its constructor; may be given again."
        ),
    ] = None,
    json_: JsonOption = False,
) -> Checks:
    """Check that a plugin does what tlkit asks of its kind; the exit code is 1 if not."""
    from tlkit.testing.command import check as run_suite

    return run_suite(target, kind, set_ or [], quiet=json_)


@app.command("new-plugin")
@answers
def new_plugin(
    name: Annotated[str, typer.Argument(help="What a config is to call it, such as my-head.")],
    kind: Annotated[
        str, typer.Option(help="backbone, head, reporter, dataset, workflow or engine.")
    ],
    output: Annotated[Path, typer.Option(help="Folder to make its folder in.")] = Path(),
    json_: JsonOption = False,
) -> NewPlugin:
    """Write a plugin package that installs, is found, passes its tests and runs."""
    from tlkit.new_plugin.writing import write_plugin

    document = write_plugin(name, kind, output)
    if not json_:
        _echo(f"The {kind} '{document.name}' is in {document.folder}. Go on with:")
        _echo_lines("\n".join(document.commands))
    return document


@cache_app.command("list")
@answers
def cache_list(json_: JsonOption = False) -> Cache:
    """List stored features: backbone, images, size, age.

    These are the ones of this machine; shared ones ([features] store) are not looked at.
    """
    import time

    from tlkit.documents.cache import Cache, StoredFeatures
    from tlkit.features import FeatureStore

    store = FeatureStore()
    entries = [StoredFeatures.model_validate(entry) for entry in store.entries()]
    document = Cache(folder=store.folder, entries=entries)
    if json_:
        return document
    rows = [
        (
            entry.fingerprint[:12],
            entry.backbone,
            entry.images,
            entry.dtype,
            "x".join(str(side) for side in entry.shape),
            f"{entry.bytes / 1e6:.1f} MB",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.modified)),
            "whole" if entry.complete else "interrupted",
        )
        for entry in entries
    ]
    show_table(
        ("Key", "Backbone", "Images", "Type", "Shape", "Size", "Written", "State"),
        rows,
        spare=("Key", "Type", "Written", "Shape"),
    )
    _echo(f"{sum(entry.bytes for entry in entries) / 1e6:.1f} MB in {store.folder}")
    if not all(entry.complete for entry in entries):
        _echo("Interrupted ones go on when the next run needs them.")
    return document


@cache_app.command("clear")
@answers
def cache_clear(json_: JsonOption = False) -> CacheCleared:
    """Delete stored features; they are made again when needed.

    What engines were measured at is deleted too. Only the folder of this machine is cleared:
    features that are shared ([features] store) stay there, and are copied from there when needed.
    """
    from tlkit.documents.cache import CacheCleared
    from tlkit.engine_choice import engines_folder, forget
    from tlkit.features import FeatureStore

    store = FeatureStore()
    document = CacheCleared(folder=store.folder, freed_bytes=store.clear())
    forget(engines_folder(store.folder))
    if not json_:
        _echo(f"Freed {document.freed_bytes / 1e6:.1f} MB in {store.folder}")
    return document


@app.command()
@answers
def predict(
    context: typer.Context,
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Files and folders.")],
    top: Annotated[int, typer.Option(min=1, help="How many classes to give.")] = 1,
    engine: Annotated[
        str, typer.Option(help="What runs the model; by default the fastest that pays.")
    ] = "auto",
    batch_size: Annotated[
        int, typer.Option(min=0, help="Pictures in a batch; 0 for the fastest.")
    ] = 0,
    target_accuracy: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Give no class where the model is so unsure that fewer would be right: 0.95.",
        ),
    ] = None,
    flag_unfamiliar: Annotated[
        bool,
        typer.Option(
            "--flag-unfamiliar", help="Mark pictures that are unlike the training images."
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the answers here: .csv, .json, .jsonl or .parquet."
        ),
    ] = None,
    json_: JsonOption = False,
) -> Predictions:
    """Classify pictures with the model of a finished run.

    Files that cannot be read are named at the end, and the exit code is 1.
    """
    from tlkit.predict.command import Wanted
    from tlkit.predict.command import predict as predict_pictures

    wanted = Wanted(
        run=run_folder,
        inputs=images,
        top=top,
        engine=engine,
        batch_size=batch_size,
        target_accuracy=target_accuracy,
        flag_unfamiliar=flag_unfamiliar,
        out=out,
        quiet=json_,
        command=command_line(context.obj),
    )
    return predict_pictures(wanted)


@app.command()
@answers
def serve(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    engine: Annotated[str, typer.Option(help="What runs the model; auto takes the fastest.")] = (
        "auto"
    ),
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any free one.")] = 8000,
    name: Annotated[
        str | None, typer.Option(help="Name of the model in addresses; by default the run's.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the token that callers need; else TLKIT_TOKEN, if it is set."),
    ] = None,
    max_batch: Annotated[
        int, typer.Option(min=1, max=1024, help="Most pictures that the model sees at once.")
    ] = 32,
    max_delay_ms: Annotated[
        float, typer.Option(min=0, max=1000, help="How long a picture waits for others, in ms.")
    ] = 5.0,
    max_body_mb: Annotated[
        float, typer.Option(min=0.001, max=1024, help="Largest body of a request, in MB.")
    ] = 16.0,
    timeout: Annotated[
        float,
        typer.Option(min=0.1, max=3600, help="Seconds to receive a request, and to answer it."),
    ] = 30.0,
    json_: JsonOption = False,
) -> Continuing:
    """Serve a finished run over HTTP: pictures in, classes out; and a page to drop pictures on."""
    from tlkit.serve.command import how_to_call, prepare, warning

    document, action = prepare(
        run_folder,
        engine=engine,
        host=host,
        port=port,
        name=name,
        token_file=token_file,
        max_batch=max_batch,
        max_delay_ms=max_delay_ms,
        max_body_mb=max_body_mb,
        timeout=timeout,
    )
    if not json_:
        _echo_lines(how_to_call(document))
    if text := warning(document):
        say(text)
    return Continuing(document, action)


@app.command()
@answers
def explain(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="[IMAGE...]", help="Files and folders.")
    ] = None,
    wrong: Annotated[
        int, typer.Option(min=0, help="Explain so many test images: the most confident mistakes.")
    ] = 0,
    sample: Annotated[
        int, typer.Option(min=0, help="Explain so many test images, drawn at random.")
    ] = 0,
    map_: Annotated[
        bool,
        typer.Option("--map", help="Draw maps of the test features: PCA, t-SNE, UMAP if there."),
    ] = False,
    method: Annotated[
        Literal["grad-cam", "occlusion"],
        typer.Option(help="By gradients, or by hiding parts of the image, which fits any head."),
    ] = "grad-cam",
    class_: Annotated[
        str | None, typer.Option("--class", help="Class to explain; by default the predicted one.")
    ] = None,
    patch: Annotated[
        float, typer.Option(help="Occlusion: side of the patch, a share of the image's.")
    ] = 0.25,
    stride: Annotated[
        float, typer.Option(help="Occlusion: step of the patch, a share of the image's side.")
    ] = 0.0625,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the PNGs; by default RUN/explanations.")
    ] = None,
    json_: JsonOption = False,
) -> Explanations:
    """Show where a model looks, and map the test features."""
    from tlkit.documents.explain import Explanations
    from tlkit.explain import Settings, command

    written = command.explain(
        run_folder,
        images or [],
        wrong=wrong,
        sample_size=sample,
        with_map=map_,
        settings=Settings(method, class_, patch, stride),
        out=out,
    )
    return Explanations.of(run_folder, command.show(written, quiet=json_))


@app.command()
@answers
def export(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    to: Annotated[
        list[str],
        typer.Option(
            help="keras, h5, savedmodel, onnx, litert, openvino; with commas, or given again."
        ),
    ],
    precision: Annotated[
        list[str] | None,
        typer.Option(help="Of the weights: float32, float16, int8; likewise. By default float32."),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(help="Largest change of the test accuracy, in percentage points."),
    ] = 1.0,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Keep files that are beyond the tolerance.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Run each file on the test set.")
    ] = True,
    calibration_images: Annotated[
        int, typer.Option(min=1, help="Validation images that int8 is fitted on.")
    ] = 200,
    input_size: Annotated[
        str | None,
        typer.Option(metavar="HxW", help="Fix the size of all pictures; by default any size."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|DIR",
            help="A folder; a file where the name ends as the format's do. By default RUN/export.",
        ),
    ] = None,
    json_: JsonOption = False,
) -> ExportDocument:
    """Write the model for other programs, and check each file on the test set.

    Resizing, preprocessing and the class names are inside the file.
    """
    from tlkit.export import command

    return command.export(
        run_folder,
        to,
        precision or [],
        tolerance=tolerance,
        allow_loss=allow_loss,
        check=check,
        calibration_images=calibration_images,
        input_size=input_size,
        out=out,
        quiet=json_,
    )


@app.command()
@answers
def card(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    kind: Annotated[
        Literal["model-card", "lab-report"], typer.Option(help="What to write.")
    ] = "model-card",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where; by default README.md or lab_report.md in the run folder."
        ),
    ] = None,
    json_: JsonOption = False,
) -> Card:
    """Write a model card or a lab report of a run, in Markdown."""
    from tlkit.card import write_card
    from tlkit.documents.card import Card

    document = Card(run=run_folder, kind=kind, file=write_card(run_folder, kind, out))
    if not json_:
        _echo(f"Written: {document.file}")
    return document


@app.command()
@answers
def schema(
    name: Annotated[
        str | None,
        typer.Argument(help="Such as tlkit.run/1, or config; the names of all if it is left out."),
    ] = None,
    json_: JsonOption = False,
) -> Schemas:
    """Print the JSON Schemas of what the commands print with --json, or of a config file."""
    import json

    from tlkit.documents.schema import Schemas, json_schemas

    if name == "config":
        from tlkit.config_schema import config_schema

        document = Schemas(schemas={name: config_schema()})
    else:
        document = Schemas(schemas=json_schemas(name))
    if not json_ and name is None:
        print("\n".join([*document.schemas, "config"]))
    elif not json_:
        print(json.dumps(next(iter(document.schemas.values())), indent=2))
    return document


def _echo_lines(text: str) -> None:
    for line in text.splitlines():
        _echo(line)
    sys.stdout.flush()


def _echo(text: str) -> None:
    from tlkit import printable

    print(printable(text))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    from tlkit.runtime import keep_freed_memory

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", category=RuntimeWarning, message="Reporter '.*")
    keep_freed_memory()
    call(app, arguments)
