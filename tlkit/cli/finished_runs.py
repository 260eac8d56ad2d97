"""Commands for finished runs: a report, answers, a server, explanations, exports, cards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tlkit.answering import Continuing, JsonOption, answers
from tlkit.cli.parameters import RunArgument
from tlkit.interruption import command_line
from tlkit.screen import echo, echo_lines, say

if TYPE_CHECKING:
    from tlkit.documents.card import Card
    from tlkit.documents.explain import Explanations
    from tlkit.documents.export import ExportDocument
    from tlkit.documents.predict import Predictions
    from tlkit.documents.report import Report


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
    """Write the HTML page of a run or a sweep, or of all runs."""
    from tlkit.documents.report import Report
    from tlkit.report.command import write

    path, kind = write(folder, open_)
    if not json_:
        echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
    return Report(source=folder, kind=kind, file=path)


@answers
def predict(
    context: typer.Context,
    run_folder: RunArgument,
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


@answers
def serve(
    run_folder: RunArgument,
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
    """Serve a finished run over HTTP: pictures in, classes out.

    The address itself is a page to drop pictures on.
    """
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
        echo_lines(how_to_call(document))
    if text := warning(document):
        say(text)
    return Continuing(document, action)


@answers
def explain(
    run_folder: RunArgument,
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


@answers
def export(
    run_folder: RunArgument,
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
    """Write the model for other programs, and check the files.

    Each is run on the test set by its own runtime. Resizing, preprocessing and the class names are
    inside the file.
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


@answers
def card(
    run_folder: RunArgument,
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
        echo(f"Written: {document.file}")
    return document
