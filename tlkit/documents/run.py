"""``tlkit run`` and ``tlkit resume``: a finished run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, JsonValue

from tlkit.documents.base import AbsolutePath, Document, Number, Part, Share
from tlkit.documents.figures import EvaluationFigures

if TYPE_CHECKING:
    from tlkit.records import RunResult


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
