"""The tables of a config: their keys, types and defaults, as pydantic models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class RunTable(BaseModel):
    """The ``[run]`` table."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(default="run", description="Name of the run and of its folder.")
    seed: int = Field(default=0, description="Seed of splits, weights, dropout and batches.")
    validation: float | Literal["test"] = Field(
        default=0.1, description='Share of the training images to validate on, or "test".'
    )
    duplicates: Literal["report", "error", "drop"] = Field(
        default="report", description="What to do about test images that are training images."
    )
    save: list[Literal["keras", "h5"]] = Field(
        default=["keras"], description="Formats to save the model in."
    )
    calibrate: bool = Field(
        default=False, description="Save the model with the temperature fitted on validation."
    )
    few_shot: int = Field(
        default=0, description="Train on so many images of each class only; 0 for all."
    )
    test_images: bool = Field(
        default=True, description="Keep small pictures of test images for reports."
    )
    distribute: Literal["none", "mirrored", "multi_worker"] = Field(
        default="none",
        description="What shares each batch of fine-tuning: the GPUs here, or several machines.",
    )
    start_from: str | None = Field(
        default=None, description="Folder of a finished run to start from."
    )
    old_classes: Literal["error", "drop", "replay"] = Field(
        default="error", description="What to do about classes of that run which the data lacks."
    )


class FeaturesTable(BaseModel):
    """The ``[features]`` table: what is stored of each image."""

    model_config = ConfigDict(extra="forbid", strict=True)

    dtype: Literal["float32", "float16"] = Field(
        default="float32", description="Number type of stored features."
    )
    views: int = Field(
        default=0, description="Augmented views of each training image beside the plain one."
    )
    flip: bool = Field(default=True, description="Mirror half of the views.")
    crop: float = Field(default=0.3, description="Largest share of the area that is cut off.")
    colour: float = Field(
        default=0.1, description="Largest change of brightness, contrast and saturation."
    )
    seed: int = Field(default=0, description="Seed of the views.")
    store: str = Field(
        default="", description="Folder or URL where several machines share stored features."
    )


class TestTimeAugmentationTable(BaseModel):
    """The ``[test_time_augmentation]`` table: the views whose logits the model averages."""

    model_config = ConfigDict(extra="forbid", strict=True)

    mirror: bool = Field(default=False, description="Also mirrored left to right.")
    scales: list[float] = Field(
        default=[], description="Also enlarged (1.25) or shrunk (0.8), each 0.5 to 2."
    )


class Table(BaseModel):
    """A plugin's table: its name, and the keywords of its constructor."""

    model_config = ConfigDict(extra="allow", strict=True)

    name: str = Field(description="Registered name of a plugin.")


class RayTable(BaseModel):
    """The ``[engine.ray]`` table: the cluster that computes features."""

    model_config = ConfigDict(extra="forbid", strict=True)

    address: str = Field(
        default="",
        description="'' to start Ray on this machine, 'auto', or 'host:port'.",
    )
    workers: int = Field(
        default=0, description="Processes that hold the backbone; 0 for as many as fit."
    )
    cpus_per_worker: int = Field(
        default=0, description="Processors of each; 0 for all of a node, at most 8."
    )


class EngineTable(Table):
    """The ``[engine]`` table: an engine, and on which machines it runs."""

    distribute: Literal["none", "ray"] = Field(
        default="none", description="What the features are computed on: this machine, or Ray."
    )
    ray: RayTable = Field(default=RayTable(), description="The Ray cluster.")


class CompareTable(BaseModel):
    """The ``[compare]`` table: the grid of ``tlkit compare``; ``tlkit run`` passes it over."""

    model_config = ConfigDict(extra="forbid", strict=True)

    backbones: list[Table] = Field(default=[], description="Backbones of the grid.")
    heads: list[Table] = Field(default=[], description="Heads of the grid.")
    few_shot: list[int | Literal["all"]] = Field(
        default=[], description='Numbers of images of each class to train on; 0 or "all" for all.'
    )
    seeds: list[int] = Field(default=[], description="Seeds of the grid.")


class Config(BaseModel):
    """A whole config; a table that is left out names the default plugin."""

    model_config = ConfigDict(extra="forbid", strict=True)

    run: RunTable = RunTable()
    dataset: Table
    backbone: Table = Table(name="mobilenet_v2")
    head: Table = Table(name="dense")
    workflow: Table = Table(name="freeze_and_train")
    engine: EngineTable = EngineTable(name="auto")
    features: FeaturesTable = FeaturesTable()
    test_time_augmentation: TestTimeAugmentationTable = TestTimeAugmentationTable()
    reporters: list[Table] = [Table(name="plots"), Table(name="files"), Table(name="rich")]
    compare: CompareTable = CompareTable()


# The tables that stand for one plugin; ``reporters`` and two lists of ``compare`` hold many.
PLUGIN_TABLES = ("dataset", "backbone", "head", "workflow", "engine")


def table_model(annotation: Any) -> type[BaseModel] | None:
    """Return the model of a table; None if a field is of another type."""
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if is_model else None
