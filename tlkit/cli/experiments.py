"""Commands that make many runs: ``tlkit bench``, ``compare`` and ``sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tlkit.answering import JsonOption, answers
from tlkit.cli.parameters import SetOption
from tlkit.interruption import Interrupted, command_line

if TYPE_CHECKING:
    from tlkit.documents.bench import Bench
    from tlkit.documents.compare import ComparisonDocument
    from tlkit.documents.sweep import SweepDocument


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
    set_: SetOption = None,
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
    set_: SetOption = None,
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
