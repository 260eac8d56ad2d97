"""Documents: what the commands print with ``--json``; the JSON Schemas are made from them.

The rule of ``docs/reference/json.md``: within a version fields are only added. What is removed,
renamed, retyped or given another meaning makes a new version.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    WithJsonSchema,
)

from tlkit.errors import ConfigError, nearest
from tlkit.object_store import local_place
from tlkit.paths import with_urls

if TYPE_CHECKING:
    from tlkit.records import RunResult


def _finite(value: Any) -> Any:
    return value if not isinstance(value, float) or math.isfinite(value) else None


# JSON has no infinity and no NaN: what is no number is null.
Number = Annotated[float | None, BeforeValidator(_finite)]
AbsolutePath = Annotated[
    Path,
    AfterValidator(lambda path: local_place(path).absolute()),
    PlainSerializer(lambda path: with_urls(str(path)), when_used="json"),
    WithJsonSchema({"type": "string", "format": "path"}, mode="serialization"),
]
Share = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """A part of a document; it can be made of any object with these attributes."""

    model_config = ConfigDict(
        from_attributes=True,
        populate_by_name=True,
        allow_inf_nan=False,
        # All fields are always there, which the schema should promise.
        json_schema_serialization_defaults_required=True,
    )


class Document(Part):
    """What a command prints: one object.

    A document of your own is a subclass with a name and a version::

        class Survey(Document):
            schema_: Literal["tlkit.survey/1"] = Field(default="tlkit.survey/1", alias="schema")
    """

    schema_: str = Field(alias="schema", description="Name and version of this document's schema.")
    status: Literal["ok", "failed", "error"] = Field(
        default="ok",
        description='"ok"; "failed" if a part of what was asked for failed, and the exit code is '
        '1; "error" in tlkit.error only.',
    )

    def text(self) -> str:
        """Return the document as JSON, in ASCII: it changes no terminal and breaks no encoding."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=2, allow_nan=False)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema (draft 2020-12) of the document."""
        schema = cls.model_json_schema(mode="serialization")
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}

    @classmethod
    def schema_id(cls) -> str:
        """Return the name and version, such as ``tlkit.run/1``."""
        return str(cls.model_fields["schema_"].default)


def documents() -> dict[str, type[Document]]:
    """Return every kind of document by name and version, sorted."""
    return {kind.schema_id(): kind for kind in sorted(Document.__subclasses__(), key=_by_id)}


def json_schemas(name: str | None = None) -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of one kind of document, or of all, by name and version.

    Raises:
        ConfigError: If there is none of that name.
    """
    found = documents()
    if name is None:
        return {key: kind.json_schema() for key, kind in found.items()}
    if name not in found:
        by_kind = {_kind(key): key for key in found}
        like = nearest(_kind(name), by_kind)
        hint = "" if like is None else f" Did you mean '{by_kind[like]}'?"
        raise ConfigError(f"Unknown schema '{name}'.{hint}\nAvailable: {', '.join(found)}.")
    return {name: found[name].json_schema()}


def _kind(name: str) -> str:
    """Return a document's name without what all have in common, and without the version."""
    return name.removeprefix("tlkit.").partition("/")[0]


def _by_id(kind: type[Document]) -> str:
    return kind.schema_id()


class Error(Document):
    """What every command prints in place of its document when it ends with an error."""

    schema_: Literal["tlkit.error/1"] = Field(default="tlkit.error/1", alias="schema")
    status: Literal["error"] = "error"
    type: str = Field(description="The class of the error, such as ConfigError.")
    message: str = Field(description="What was received, what is allowed, what to do.")
    exit_code: int = Field(description="1 failed, 2 bad input, 130 interrupted.")
    next_command: str | None = Field(
        default=None,
        description="After an interrupt: what to give to a shell to go on, or to run it again; "
        "null otherwise, and where nothing is to be said.",
    )


class ClassFigures(Part):
    """Figures of one class, or of an average over classes, on the test images."""

    name: str = Field(description='The class; "macro avg" or "weighted avg" for an average.')
    precision: Share = Field(description="0 to 1.")
    recall: Share = Field(description="0 to 1.")
    f1: Share = Field(description="0 to 1.")
    support: int = Field(description="Number of test images.")


class ConfidenceBin(Part):
    """The test images whose confidence lies above lower and up to upper."""

    lower: Share = Field(description="0 to 1.")
    upper: Share = Field(description="0 to 1.")
    confidence: float = Field(description="Their mean confidence, 0 to 1.")
    accuracy: Share = Field(description="Share of right answers among them, 0 to 1.")
    count: int = Field(description="Number of these images.")


class ConfidenceFigures(Part):
    """How far confidences keep what they promise."""

    expected_calibration_error: Number = Field(description="0 to 1.")
    error_by_chance: Number = Field(
        description="About what it would be if every confidence were true, 0 to 1."
    )
    loss: Number = Field(description="Mean cross-entropy in nats.")
    bins: list[ConfidenceBin] = Field(description="The bins that hold images, in order.")


class CalibrationFigures(Part):
    """Confidences as trained, and with logits divided by a temperature."""

    uncalibrated: ConfidenceFigures = Field(description="As trained.")
    calibrated: ConfidenceFigures | None = Field(description="With the temperature.")
    temperature: Number = Field(description="Fitted on the validation images; null if none.")
    reason: str = Field(description="Why there is no temperature; empty if there is one.")
    applied: bool = Field(description="Whether the saved model has the temperature.")


class EvaluationFigures(Part):
    """Figures on the test images."""

    accuracy: Share = Field(description="Share of right answers, 0 to 1.")
    accuracy_interval: tuple[float, float] | None = Field(
        description="95 % interval of the accuracy, 0 to 1."
    )
    balanced_accuracy: Number = Field(description="Mean recall over the classes, 0 to 1.")
    macro_f1: Number = Field(description="Mean F1 over the classes, 0 to 1.")
    top_5: Number = Field(description="Top-5 accuracy, 0 to 1; null with five classes or fewer.")
    loss: Number = Field(description="Mean cross-entropy in nats.")
    classes: list[ClassFigures] = Field(description="In the order of the labels.")
    averages: list[ClassFigures] = Field(description="Macro and weighted average.")
    confusion_matrix: list[list[int]] = Field(
        description="Numbers of test images; row: true class, column: predicted class."
    )
    calibration: CalibrationFigures | None = Field(description="null in runs of before.")


class PhaseFigures(Part):
    """One phase of the training."""

    name: str = Field(description='Such as "frozen" or "fine-tune".')
    epochs: int = Field(description="Epochs that were trained.")
    images: int = Field(description="Number of training images.")
    trainable_parameters: int = Field(description="Parameters that the phase changes.")
    frozen_parameters: int = Field(description="Parameters that it does not change.")
    seconds: Number = Field(description="Wall-clock seconds, without feature extraction.")
    kept_epoch: int | None = Field(
        description="Epoch, from 1, whose weights early stopping put back; null for the last."
    )
    chosen: dict[str, JsonValue] = Field(
        description="What the head chose by the validation images."
    )
    history: dict[str, list[Number]] = Field(
        description="loss, accuracy, val_loss, val_accuracy: one value for each epoch."
    )


class ImageCounts(Part):
    """Numbers of images."""

    train: int = Field(description="Trained on, without the validation images.")
    validation: int = Field(description="To validate on.")
    test: int = Field(description="To test on.")


class AncestorFigures(Part):
    """A finished run that another one started from."""

    name: str = Field(description="Name of the run.")
    folder: str = Field(description="Where it was kept; it may be gone by now.")
    began: str = Field(description="When it began: ISO 8601 with the offset from UTC.")
    model: str = Field(description="SHA-256 of its model's file.")
    accuracy: Share = Field(description="Its own test accuracy, 0 to 1.")
    num_test: int = Field(description="Number of its test images.")
    backbone: str = Field(description="Name of its backbone.")
    head: str = Field(description="Name of its head.")
    num_classes: int = Field(description="Number of classes that it knew.")
    epochs: int = Field(description="Number of epochs that it trained.")


class LineageFigures(Part):
    """What a run started from and took over: the weights of the backbone always."""

    ancestors: list[AncestorFigures] = Field(description="The parent first, then its parent, ...")
    head: Literal["kept", "grown", "new"] = Field(
        description='"kept"; "grown": kept, with new classes beside the old ones; or "new".'
    )
    reason: str = Field(description="Why the head is new; empty if it is not.")
    new_classes: list[str] = Field(description="Classes that the parent does not know.")
    dropped_classes: list[str] = Field(description="Classes that only the parent knows.")
    replayed_classes: list[str] = Field(
        description="Classes whose images come from the parent's data."
    )
    known_test_images: int = Field(
        description="Number of test images of classes that the parent knows."
    )
    accuracy_before: Share | None = Field(
        description="Accuracy on these before the first step, the answer being one of the parent's "
        "classes, 0 to 1; null if the head is new."
    )
    accuracy_after: Share | None = Field(
        description="Accuracy on these in the end, the answer being any class, 0 to 1."
    )
    seen_test_images: int | None = Field(
        description="Number of test images that an ancestor was trained on; null if not known."
    )
    seen_validation_images: int | None = Field(description="The same of the validation images.")


class Run(Document):
    """``tlkit run``: a finished run."""

    schema_: Literal["tlkit.run/1"] = Field(default="tlkit.run/1", alias="schema")
    name: str = Field(description="Name of the run.")
    began: str = Field(description="When it began: ISO 8601 with the offset from UTC.")
    folder: AbsolutePath = Field(description="The run folder.")
    config: AbsolutePath = Field(description="The resolved config; tlkit run runs it again.")
    models: list[AbsolutePath] = Field(description="The saved model, once for each format.")
    class_names: list[str] = Field(description="In the order of the labels.")
    images: ImageCounts
    validates_on_test: bool = Field(description="Whether the validation images are the test's.")
    test: EvaluationFigures
    phases: list[PhaseFigures]
    seconds: dict[str, Number] = Field(description="Wall-clock seconds by part, and total.")
    feature_cache: dict[str, str] = Field(
        description='"stored" or "extracted", by split and view of it, such as "train", '
        '"train, view 2" or "train, scale 1.25, mirrored".'
    )
    fingerprints: dict[str, str] = Field(description="SHA-256 of images, labels and weights.")
    lineage: LineageFigures | None = Field(
        description="The run that it started from; null if it began from pretrained weights."
    )
    environment: dict[str, str] = Field(description="Versions and the machine.")
    notes: list[str] = Field(description="What the reader should know.")
    warnings: list[str] = Field(description="What went wrong without ending the run.")

    @classmethod
    def of(cls, result: RunResult) -> Run:
        """Return the document of a run that has a folder."""
        from tlkit.run_folder import CONFIG

        folder, info = result.folder, result.info
        assert folder is not None
        test = EvaluationFigures.model_validate(
            {
                **{key: getattr(result.test, key) for key in EvaluationFigures.model_fields},
                "confusion_matrix": result.test.confusion_matrix.tolist(),
            }
        )
        phases = [
            PhaseFigures(
                name=item.phase.name,
                epochs=item.num_epochs or item.phase.epochs,
                images=item.phase.num_images,
                trainable_parameters=item.phase.trainable_parameters,
                frozen_parameters=item.phase.frozen_parameters,
                seconds=item.seconds,
                kept_epoch=item.kept_epoch,
                chosen=dict(item.chosen),
                history={key: list(values) for key, values in item.history.items()},
            )
            for item in result.phases
        ]
        return cls(
            name=info.name,
            began=info.began,
            folder=folder,
            config=folder / CONFIG,
            models=sorted(folder.glob("model.*")),
            class_names=list(info.class_names),
            images=ImageCounts(
                train=info.num_train, validation=info.num_validation, test=info.num_test
            ),
            validates_on_test=info.validates_on_test,
            test=test,
            phases=phases,
            seconds=dict(result.seconds),
            feature_cache=dict(result.feature_cache),
            fingerprints=dict(result.fingerprints),
            lineage=None if info.lineage is None else LineageFigures.model_validate(info.lineage),
            environment=dict(result.environment),
            notes=list(info.notes),
            warnings=list(result.warnings),
        )


class PredictedPicture(Part):
    """What the model says of one picture."""

    path: AbsolutePath = Field(description="The file.")
    classes: list[str] = Field(
        description="The most probable classes, the most probable first; none where the model "
        "abstained."
    )
    confidences: list[Number] = Field(description="Their probabilities, 0 to 1.")
    error: str | None = Field(description="Why the file could not be read; null if it could.")
    abstained: bool | None = Field(
        description="Whether it was too unsure to give a class; null without --target-accuracy."
    )
    distance: Number = Field(
        description="How far it is from the training images: 1 is what 1 % of the validation "
        "images exceed; null without --flag-unfamiliar."
    )
    unfamiliar: bool | None = Field(
        description="Whether the distance is above 1; null without --flag-unfamiliar."
    )


class AbstentionFigures(Part):
    """The threshold below which no class is given, and what it gave."""

    target_accuracy: Share = Field(description="What was asked of given answers, 0 to 1.")
    threshold: Share = Field(description="Confidences below it are no answer.")
    guaranteed_accuracy: Share = Field(
        description="What the accuracy of given answers is at least, with a probability of 95 %, "
        "for images such as those of the validation."
    )
    validation_coverage: Share = Field(description="Share of validation images with an answer.")
    validation_accuracy: Share = Field(description="Of these answers.")
    test_coverage: Share = Field(description="Share of test images with an answer.")
    test_accuracy: Number = Field(description="Of these answers; null if there are none.")


class Predictions(Document):
    """``tlkit predict``: "failed" if a picture could not be read."""

    schema_: Literal["tlkit.predict/1"] = Field(default="tlkit.predict/1", alias="schema")
    run: AbsolutePath = Field(description="The run folder.")
    predictions: list[PredictedPicture] = Field(
        description="In the order of the pictures; none where they are in a file."
    )
    pictures: int = Field(description="How many pictures there were, unreadable ones included.")
    unreadable: int = Field(description="How many of them could not be read.")
    engine: str = Field(description="The engine that ran the model.")
    seconds: Number = Field(description="Wall-clock seconds, without loading the model.")
    file: AbsolutePath | None = Field(description="Where the answers are; null without --out.")
    abstained: int | None = Field(
        default=None, description="How many got no class; null without --target-accuracy."
    )
    abstention: AbstentionFigures | None = Field(
        default=None, description="null without --target-accuracy."
    )
    unfamiliar: int | None = Field(
        default=None,
        description="How many are far from the training images; null without --flag-unfamiliar.",
    )


class Serving(Document):
    """``tlkit serve``: where it serves; it goes on serving after this document."""

    schema_: Literal["tlkit.serve/1"] = Field(default="tlkit.serve/1", alias="schema")
    run: AbsolutePath = Field(description="The run folder.")
    url: str = Field(description="Where it listens, with the port; no slash at the end.")
    model: str = Field(description="The model's name in addresses: url/v2/models/NAME.")
    engine: str = Field(description="The engine that runs the model.")
    wants_token: bool = Field(description="Whether callers need a token.")
    loopback: bool = Field(description="Whether only this machine can reach it.")
    max_batch: int = Field(description="Most pictures that the model sees at once.")
    max_delay_ms: float = Field(description="How long a picture waits for others, in ms.")
    max_body_bytes: int = Field(description="The largest body of a request.")
    max_pictures: int = Field(description="Most pictures that are answered at one time.")
    timeout: float = Field(description="Seconds to receive a request, and again to answer it.")


class Report(Document):
    """``tlkit report``: an HTML page was written."""

    schema_: Literal["tlkit.report/1"] = Field(default="tlkit.report/1", alias="schema")
    source: AbsolutePath = Field(description="The folder of the run, of runs, or of a sweep.")
    kind: Literal["run", "index", "sweep"] = Field(
        description="The page of a run, that of all runs, or that of a sweep."
    )
    file: AbsolutePath = Field(description="The page.")


class ExplainedImage(Part):
    """One image's explanation."""

    image: str = Field(description="Its file, or its name or number in the test set.")
    method: Literal["grad-cam", "occlusion"]
    predicted: str = Field(description="The most probable class; empty if there is an error.")
    confidence: Number = Field(description="Its probability, 0 to 1.")
    explained: list[str] = Field(description="The classes whose evidence is shown.")
    true_class: str | None = Field(description="Null for a file.")
    path: AbsolutePath | None = Field(description="The PNG; null if there is an error.")
    error: str | None = Field(description="Why there is none; null if there is one.")


class WrittenMap(Part):
    """A map of the test features."""

    projection: str = Field(description='"pca", "t-sne" or "umap".')
    images: int = Field(description="How many test images it shows.")
    of: int = Field(description="How many there are.")
    mistakes: int = Field(description="How many of those shown are mistakes.")
    source: Literal["store", "model"] = Field(description="Stored features, or computed ones.")
    path: AbsolutePath = Field(description="The PNG.")


class Explanations(Document):
    """``tlkit explain``: "failed" if an image could not be explained."""

    schema_: Literal["tlkit.explain/1"] = Field(default="tlkit.explain/1", alias="schema")
    run: AbsolutePath = Field(description="The run folder.")
    explanations: list[ExplainedImage]
    maps: list[WrittenMap]

    @classmethod
    def of(cls, run: Path, written: Sequence[Any]) -> Explanations:
        """Return the document of what ``tlkit.explain.command.show()`` returned."""
        maps = [item for item in written if hasattr(item, "projection")]
        images = [item for item in written if not hasattr(item, "projection")]
        failed = any(item.error is not None for item in images)
        return cls(
            run=run,
            status="failed" if failed else "ok",
            explanations=[ExplainedImage.model_validate(item) for item in images],
            maps=[WrittenMap.model_validate(item) for item in maps],
        )


class ComparedFigures(Part):
    """What one finished run reached and what it cost."""

    accuracy: Share = Field(description="Test accuracy, 0 to 1.")
    interval: tuple[float, float] | None = Field(description="Its 95 % interval.")
    validation_accuracy: Number = Field(description="0 to 1; null where nothing was held out.")
    test_images: int
    test_fingerprint: str = Field(description="SHA-256 of the test images.")
    labels_fingerprint: str = Field(description="SHA-256 of class names and labels; may be empty.")
    features_seconds: Number = Field(description="Of the extraction when it was made.")
    features_stored: bool = Field(description="Whether all features were on disk already.")
    training_seconds: Number
    total_seconds: Number = Field(description="Of the run, without importing TensorFlow.")
    parameters: int = Field(description="Of the model, trained or frozen.")
    model_bytes: int | None = Field(description="Size of the saved model; null if it is not there.")
    images_per_second: Number = Field(description="Of the extraction; null if all was stored.")
    train_images: int
    smallest_class: int | None = Field(description="Training images of the smallest class.")


class ComparedCell(Part):
    """One cell of a grid, or one finished run."""

    backbone: str = Field(description="Its name, with the options that the grid gives it.")
    head: str = Field(description="Its name, with the options that the grid gives it.")
    few_shot: int = Field(description="Images of each class to train on; 0 for all.")
    seed: int
    name: str = Field(description="Name of the run, where finished runs are compared; else empty.")
    digest: str = Field(description="SHA-256 of the resolved config.")
    folder: AbsolutePath | None = Field(description="The run folder; null if there is none.")
    figures: ComparedFigures | None = Field(description="null if the cell failed.")
    error: str | None = Field(description="Why it failed; null if it did not.")
    reused: bool = Field(description="Whether it was finished before.")


class ComparedRow(Part):
    """The finished cells of one backbone, head and few_shot: means over their seeds."""

    backbone: str
    head: str
    few_shot: int = Field(description="Images of each class to train on; 0 for all.")
    name: str = Field(description="Name of the run, where finished runs are compared; else empty.")
    seeds: list[int] = Field(description="The seeds that finished.")
    accuracy: Number = Field(description="Mean test accuracy, 0 to 1; null if none finished.")
    deviation: Number = Field(description="Standard deviation over the seeds; null with one.")
    interval: tuple[float, float] | None = Field(description="95 % interval; null with several.")
    validation_accuracy: Number = Field(description="Mean, 0 to 1.")
    features_seconds: Number = Field(description="Mean, of the extractions when they were made.")
    features_stored: bool = Field(description="Whether no cell had to extract anything.")
    training_seconds: Number = Field(description="Mean.")
    total_seconds: Number = Field(description="Mean.")
    parameters: int | None
    model_bytes: int | None
    images_per_second: Number


class ComparedPair(Part):
    """McNemar's exact test of two classifiers on the same test images."""

    first: str
    second: str
    only_first: int = Field(description="Images that only the first gets right.")
    only_second: int = Field(description="Images that only the second gets right.")
    images: int = Field(description="Number of test images.")
    p_value: Share = Field(description="Two-sided.")
    adjusted_p_value: Share = Field(description="After Holm's correction.")
    difference: float = Field(description="Accuracy of the first less that of the second.")
    interval: tuple[float, float] = Field(description="95 % interval of the difference.")
    larger_than_chance: bool = Field(description="Whether adjusted_p_value is below 0.05.")
    sentence: str = Field(description="What the test found, in words.")


class ComparisonDocument(Document):
    """``tlkit compare`` and ``comparison.json``: "failed" if a cell of the grid failed."""

    schema_: Literal["tlkit.compare/1"] = Field(default="tlkit.compare/1", alias="schema")
    folder: AbsolutePath | None = Field(description="Where it was written; null if it was not.")
    cells: list[ComparedCell]
    rows: list[ComparedRow]
    pairs: list[ComparedPair]
    differences: dict[str, list[str]] = Field(
        description="Settings that differ between finished runs: one value for each run."
    )
    notes: list[str] = Field(description="What the reader should know.")


class SweepTrial(Part):
    """One trial of a sweep that is over."""

    number: int = Field(description="Its number in the study, from 0; some may be missing.")
    state: Literal["finished", "pruned", "failed"]
    values: dict[str, JsonValue] = Field(description="What it set, by key of the config.")
    value: Number = Field(
        description="The metric at the kept epoch; of a pruned trial, its last; null if it failed."
    )
    metrics: dict[str, Number] = Field(
        description="loss, accuracy, val_loss and val_accuracy of that epoch."
    )
    epochs: int = Field(description="How many epochs it trained.")
    seconds: dict[str, Number] = Field(description="Wall-clock: features, training, total.")
    error: str | None = Field(description="Why it failed; null if it did not.")
    where: str = Field(description="Host and process that it ran in.")


class SweepImportance(Part):
    """How much of the metric's variance goes with each key of the space."""

    evaluator: str = Field(description="How it was estimated.")
    shares: dict[str, float] = Field(description="By key, the largest first; together 1.")
    trials: int = Field(description="How many finished trials it is of.")
    left_out: list[str] = Field(description="Keys that not every trial had.")
    reason: str = Field(description="Why there is none; empty if there is one.")


class SweepTest(Part):
    """The best config and the config itself, each run once and tested."""

    default: ComparedCell = Field(description="The run of the config as it was given.")
    best: ComparedCell = Field(description="The run of the best trial's config.")
    difference: Number = Field(description="Test accuracy of the best less that of the default.")
    interval: tuple[float, float] | None = Field(description="95 % interval of the difference.")
    p_value: Number = Field(description="McNemar's exact test, two-sided.")
    sentence: str = Field(description="What it found, in words.")


class SweepDocument(Document):
    """``tlkit sweep`` and ``sweep.json``: "failed" if there are trials and none finished."""

    schema_: Literal["tlkit.sweep/1"] = Field(default="tlkit.sweep/1", alias="schema")
    folder: AbsolutePath | None = Field(description="Where it is written.")
    study: str = Field(description="Name of the study in the storage.")
    source: str = Field(description="The recipe or file that it varies.")
    overrides: list[str] = Field(description="What --set changed of it.")
    storage: str = Field(description="Where the study is kept, without credentials.")
    engine: Literal["optuna", "ray"] = Field(description="What ran the trials.")
    metric: Literal["val_accuracy", "val_loss"]
    larger_is_better: bool
    sampler: str
    pruner: str
    seed: int = Field(description="Of the sampler.")
    wanted: int = Field(description="How many trials the study is to have.")
    space: dict[str, JsonValue] = Field(description="The range of each key.")
    trials: list[SweepTrial]
    at_work: int = Field(description="Trials that other processes are at.")
    best: int | None = Field(description="Number of the best trial; null if none finished.")
    best_config: AbsolutePath | None = Field(description="The best config as TOML.")
    importance: SweepImportance | None = Field(description="null before the end.")
    tested: SweepTest | None = Field(description="null before the end, or if it was not asked for.")
    seconds: dict[str, Number] = Field(description="Wall-clock of this process: trials, total.")
    notes: list[str] = Field(description="What the reader should know.")
    report: AbsolutePath | None = Field(description="The HTML page; null if it was not written.")


class Spread(Part):
    """Median, least and most of several measurements."""

    median: Number
    min: Number
    max: Number


class BenchSide(Part):
    """What one side of a case took."""

    seconds: Spread = Field(description="Of the job, without starting Python and importing.")
    wall_seconds: Spread = Field(description="Of the whole command.")
    process_start_seconds: Spread = Field(description="The rest of the wall time.")
    peak_memory_bytes: int = Field(description="The most resident memory of one process.")
    accuracy: list[float] = Field(description="Test accuracy of each model, 0 to 1.")
    rounds: int = Field(description="How often it was measured.")


class BenchVariant(Part):
    """One way of tlkit against plain Keras."""

    case: str
    variant: str
    plain: BenchSide
    tlkit: BenchSide
    ratio: Number = Field(description="Seconds of plain Keras / seconds of tlkit.")
    ratio_by_round: Spread | None
    wall_ratio: Number = Field(description="The same with the start of the process.")
    goal: Number = Field(description="null where there is none.")
    reached: bool | None = Field(description="Whether the ratio reaches the goal.")


class BenchCommand(Part):
    """A command that must answer at once."""

    command: str
    seconds: Spread = Field(description="Wall time.")
    limit: float = Field(description="The most seconds that it may take.")
    reached: bool = Field(description="Whether the median keeps the limit.")
    rounds: int = Field(description="How often it was measured.")


class LeftOut(Part):
    """A variant that could not be measured."""

    case: str
    variant: str
    reason: str


class Bench(Document):
    """``tlkit bench``: medians and ratios; all measurements are in ``bench.json``."""

    schema_: Literal["tlkit.bench/1"] = Field(default="tlkit.bench/1", alias="schema")
    folder: AbsolutePath = Field(description="Where the results are.")
    images: int | None = Field(description="Training images used; null for all.")
    variants: list[BenchVariant]
    start_up: list[BenchCommand]
    tensorflow_imported: bool | None = Field(
        description="Whether tlkit plugins imports TensorFlow; null if not looked at."
    )
    left_out: list[LeftOut]
    environment: dict[str, str] = Field(description="Versions and the machine.")


class PluginEntry(Part):
    """One plugin."""

    kind: str = Field(description="backbone, head, reporter, dataset, workflow or engine.")
    name: str
    distribution: str = Field(description="The package that it comes from.")
    version: str
    summary: str


class BrokenPlugin(Part):
    """An entry point that could not be used."""

    entry_point: str
    distribution: str
    version: str
    reason: str


class Plugins(Document):
    """``tlkit plugins``: what can be named in a config."""

    schema_: Literal["tlkit.plugins/1"] = Field(default="tlkit.plugins/1", alias="schema")
    plugins: list[PluginEntry]
    broken: list[BrokenPlugin]


class CheckOutcome(Part):
    """What one check found."""

    check: str
    rule: str = Field(description="What it asks for.")
    status: Literal["passed", "failed", "skipped"] = Field(
        description="skipped where a check that it needs did not pass."
    )
    reason: str = Field(description="Why it failed or was skipped; empty if it passed.")
    seconds: Number


class CheckedPlugin(Part):
    """A plugin, and what the conformance suite found."""

    kind: str
    name: str
    origin: str = Field(description="The distribution with its version, or the file.")
    outcomes: list[CheckOutcome]


class Checks(Document):
    """``tlkit check``: whether plugins do what tlkit asks of them; failed if one does not."""

    schema_: Literal["tlkit.check/1"] = Field(default="tlkit.check/1", alias="schema")
    plugins: list[CheckedPlugin]


class NewPlugin(Document):
    """``tlkit new-plugin``: the distribution that was written."""

    schema_: Literal["tlkit.new-plugin/1"] = Field(default="tlkit.new-plugin/1", alias="schema")
    folder: AbsolutePath
    kind: str
    name: str = Field(description="What a config calls the plugin.")
    distribution: str
    files: list[str] = Field(description="Their paths within the folder.")
    commands: list[str] = Field(description="What to do next.")


class StoredFeatures(Part):
    """Features on disk."""

    fingerprint: str = Field(description="SHA-256 of all that they depend on.")
    backbone: str
    images: str = Field(description="Which images they are of.")
    dtype: str
    shape: list[int] = Field(description="Number of images, then the shape of one's features.")
    bytes: int
    modified: float = Field(description="Seconds since 1970.")
    complete: bool = Field(description="False if an extraction was interrupted.")


class Cache(Document):
    """``tlkit cache list``: stored features."""

    schema_: Literal["tlkit.cache-list/1"] = Field(default="tlkit.cache-list/1", alias="schema")
    folder: AbsolutePath
    entries: list[StoredFeatures]


class CacheCleared(Document):
    """``tlkit cache clear``: what was freed."""

    schema_: Literal["tlkit.cache-clear/1"] = Field(default="tlkit.cache-clear/1", alias="schema")
    folder: AbsolutePath
    freed_bytes: int


class RecipeSummary(Part):
    """A recipe."""

    name: str
    summary: str


class Recipes(Document):
    """``tlkit recipes``: the recipes that ship with tlkit."""

    schema_: Literal["tlkit.recipes/1"] = Field(default="tlkit.recipes/1", alias="schema")
    recipes: list[RecipeSummary]


class Recipe(Document):
    """``tlkit recipes show``: one recipe."""

    schema_: Literal["tlkit.recipe/1"] = Field(default="tlkit.recipe/1", alias="schema")
    name: str
    toml: str = Field(description="Its text.")


class Card(Document):
    """``tlkit card``: where the card was written."""

    schema_: Literal["tlkit.card/1"] = Field(default="tlkit.card/1", alias="schema")
    run: AbsolutePath = Field(description="The run folder.")
    kind: Literal["model-card", "lab-report"]
    file: AbsolutePath = Field(description="The Markdown file.")


class ExportedFile(Part):
    """One file that was to be written, and what the test set says of it."""

    format: str = Field(description="As in --to.")
    precision: Literal["float32", "float16", "int8"] = Field(description="Of its weights.")
    place: AbsolutePath = Field(description="Where the file or folder is, or would have been.")
    file: AbsolutePath | None = Field(description="The same; null if it was not put there.")
    input_size: list[int] | None = Field(
        description="Height and width of all pictures; null for pictures of any size."
    )
    bytes: int = Field(description="Its size; 0 if it was not made.")
    runtime: str = Field(description="What runs it, with its version.")
    checked: bool = Field(
        description="Whether it was run on the test set; the figures below are null if not."
    )
    tolerance: Number = Field(
        description="The largest change of accuracy that was allowed, in percentage points."
    )
    accuracy: Number = Field(description="On the test set, 0 to 1.")
    accuracy_change: Number = Field(description="That minus the Keras model's.")
    largest_difference: Number = Field(
        description="Between a probability and the Keras model's, 0 to 1."
    )
    images_per_second_1: Number = Field(description="At batches of 1, the fastest call.")
    images_per_second_32: Number = Field(description="At batches of 32, the fastest call.")
    peak_memory_bytes: int | None = Field(
        description="The most resident memory of a process that only loads the file and "
        "classifies the test set; null where the system does not tell."
    )
    error: str | None = Field(description="Why there is no file; null if there is one.")
    warning: str | None = Field(description="What is wrong with it; null if nothing.")


class ExportDocument(Document):
    """``tlkit export``: "failed" if a file could not be written, or lost too much accuracy.

    ``RUN/export/export.json`` is one too, of all files that the run was exported to.
    """

    schema_: Literal["tlkit.export/1"] = Field(default="tlkit.export/1", alias="schema")
    run: AbsolutePath = Field(description="The run folder.")
    test_images: int
    run_accuracy: Number = Field(description="The run's own test accuracy, 0 to 1.")
    files: list[ExportedFile]


class Schemas(Document):
    """``tlkit schema``: the JSON Schemas of these documents."""

    schema_: Literal["tlkit.schema/1"] = Field(default="tlkit.schema/1", alias="schema")
    schemas: dict[str, dict[str, JsonValue]] = Field(description="By name and version.")
