"""Config: TOML files, shipped recipes and overrides, checked and turned into a Trainer."""

from __future__ import annotations

import copy
import tomllib
import typing
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from tlkit.augmentation import Augmentation
from tlkit.backbone import Backbone
from tlkit.dataset import DatasetSource
from tlkit.errors import ConfigError, UnknownPluginError, did_you_mean
from tlkit.features import FeatureStore, shared_store
from tlkit.head import Head
from tlkit.mirror import fetched
from tlkit.options import accepts, describe_type
from tlkit.paths import with_urls
from tlkit.registry import Registry
from tlkit.reporter import Reporter
from tlkit.run_folder import CONFIG, find_unfinished, is_summary, load_run
from tlkit.test_time_augmentation import TestTimeAugmentation
from tlkit.trainer import Trainer
from tlkit.workflow import Workflow


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


def recipes() -> dict[str, str]:
    """Return the text of each recipe that ships with tlkit, by name."""
    folder = files("tlkit") / "recipes"
    found = {
        item.name.removesuffix(".toml"): item.read_text(encoding="utf-8")
        for item in folder.iterdir()
        if item.name.endswith(".toml")
    }
    return dict(sorted(found.items()))


def recipe(name: str) -> str:
    """Return the text of one recipe.

    Raises:
        ConfigError: If there is none of that name.
    """
    found = recipes()
    if name not in found:
        raise ConfigError(
            f"Unknown recipe '{name}'.{did_you_mean(name, found)}\nAvailable: {', '.join(found)}. "
            f"A config of your own? Give its path, such as ./{name}.toml."
        )
    return found[name]


def read(source: str) -> tuple[dict[str, Any], str]:
    """Read a recipe by name, or a TOML file by path.

    Returns:
        The tables as they stand in the file, and the name to use in errors.

    Raises:
        ConfigError: If it is missing or no TOML.
    """
    if _is_path(source):
        path = fetched(source)
        try:
            text, where = path.read_text(encoding="utf-8"), with_urls(str(path))
        except (OSError, UnicodeDecodeError, ValueError) as err:
            reason = getattr(err, "strerror", None) or err
            raise ConfigError(f"Cannot read the config {path}: {reason}.") from err
    else:
        text, where = recipe(source), f"recipe {source}"
    try:
        return tomllib.loads(text), where
    except (tomllib.TOMLDecodeError, RecursionError) as err:
        raise ConfigError(f"{where} is no valid TOML: {err}.") from err


def _is_path(source: str) -> bool:
    return Path(source).suffix == ".toml" or "/" in source or "\\" in source


def override(tables: dict[str, Any], assignment: str) -> None:
    """Apply one ``table.key=value`` to the tables, in place; or one ``table.table.key=value``.

    The value is read as TOML; what is no TOML is taken as text, so quotes may be left out.

    Raises:
        ConfigError: If the assignment has no ``=`` or no table.
    """
    key, equals, text = assignment.partition("=")
    parts = [part.strip() for part in key.split(".")]
    short = ("reporters", "engine")
    wrong = len(parts) != 2 and not (len(parts) == 1 and parts[0] in short)
    wrong = wrong and not (len(parts) == 3 and _is_inner_table(*parts[:2]))
    if not equals or wrong or not all(parts) or parts[0] == "reporters" != key.strip():
        raise ConfigError(
            f"Cannot use --set {assignment!r}. Allowed: TABLE.KEY=VALUE, such as "
            f"--set backbone.name=resnet50_v2 or --set workflow.epochs=3."
        )
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        value = text.strip()
    if len(parts) == 1:
        tables[parts[0]] = value
    else:
        table = tables
        for part in parts[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigError(f"Cannot use --set {assignment!r}: '{part}' is no table.")
        table[parts[-1]] = value
    _lengthen(tables)


def _is_inner_table(outer: str, inner: str) -> bool:
    """Return whether a table of the config holds another one."""
    field = Config.model_fields.get(outer)
    model = None if field is None else _model(field.annotation)
    found = None if model is None else model.model_fields.get(inner)
    return found is not None and _model(found.annotation) is not None


def build_trainer(
    source: str | None,
    overrides: Sequence[str] = (),
    *,
    start_from: Path | str | None = None,
    runs: Path | str | None = "runs",
    store: FeatureStore | None = None,
    registry: Registry | None = None,
) -> Trainer:
    """Make the Trainer that a recipe or config file describes.

    Args:
        source: The name of a recipe, or the path of a TOML file; None for the config of the run
            that this one starts from.
        overrides: ``TABLE.KEY=VALUE`` each, applied in order.
        start_from: The folder of a finished run to start from; it takes the place of ``[run]
            start_from``.
        runs: Where run folders are made; None to save nothing.
        store: Where features are kept.
        registry: Where plugin names are looked up.

    Raises:
        ConfigError: If the config is not valid; the error names the file and the key.
        UnknownPluginError: If a plugin is not registered.
        RunFolderError: If there is no such finished run.
    """
    if source is None:
        source = _config_of(start_from)
    original, tables, where = _read_and_override(source, overrides)
    if start_from is not None and isinstance(tables.setdefault("run", {}), dict):
        tables["run"]["start_from"] = str(start_from)
    registry = registry if registry is not None else Registry()
    notes = _drop_keys_of_old_plugins(original, tables, registry)
    if overrides:
        where += " with " + " ".join(f"--set {item}" for item in overrides)
    config = _validate(tables, where)

    def create(kind: str, table: Table) -> Any:
        options = dict(table.model_extra or {})
        label = f"[[{kind}s]]" if kind == "reporter" else f"[{kind}]"
        return registry.create(kind, table.name, f"{label} in {where}", **options)

    def create_engine(table: EngineTable) -> Any:
        where_to = {"distribute": table.distribute, "ray": table.ray.model_dump()}
        if table.ray.model_fields_set and "distribute" not in table.model_fields_set:
            raise ConfigError(
                f"[engine] ray is set, and distribute = 'ray' is not. Set it, or distribute = "
                f"'none' to keep these settings for later.\n(received: {where})"
            )
        if table.name == "auto":
            return {"name": "auto", **(table.model_extra or {}), **where_to}
        return {"name": create("engine", table), **where_to}

    shared = config.features.store
    if shared:
        store = shared_store(shared, store)
    try:
        trainer = Trainer(
            backbone=cast(Backbone, create("backbone", config.backbone)),
            head=cast(Head, create("head", config.head)),
            dataset=cast(DatasetSource, create("dataset", config.dataset)),
            workflow=cast(Workflow, create("workflow", config.workflow)),
            reporters=[cast(Reporter, create("reporter", item)) for item in config.reporters],
            engine=create_engine(config.engine),
            name=config.run.name,
            seed=config.run.seed,
            validation=config.run.validation,
            duplicates=config.run.duplicates,
            save=config.run.save,
            calibrate=config.run.calibrate,
            few_shot=config.run.few_shot,
            test_images=config.run.test_images,
            distribute=config.run.distribute,
            start_from=config.run.start_from,
            old_classes=config.run.old_classes,
            feature_type=config.features.dtype,
            views=config.features.views,
            augmentation=Augmentation(
                **config.features.model_dump(exclude={"dtype", "views", "store"})
            ),
            test_time_augmentation=TestTimeAugmentation(
                config.test_time_augmentation.mirror, tuple(config.test_time_augmentation.scales)
            ),
            runs=runs,
            store=store,
            registry=registry,
        )
    except ConfigError as err:
        if "(received:" in str(err):
            raise
        raise ConfigError(f"{err}\n(received: {where})") from err
    trainer.notes += notes
    return trainer


def build_resumed(folder: Path | str) -> Trainer:
    """Make the Trainer of a run that was begun and not finished, from the config in its folder.

    Args:
        folder: The run folder.

    Raises:
        RunFolderError: If it holds no such run; runs in it are named.
        ConfigError: If its config is not valid, or names objects that only Python code can make.
        UnknownPluginError: If a plugin is not registered.
    """
    folder = fetched(folder, is_summary)
    path = find_unfinished(folder)
    try:
        return build_trainer(str(path), runs=folder.parent)
    except (ConfigError, UnknownPluginError) as err:
        of_python = isinstance(err, UnknownPluginError) or _names_objects(path)
        if of_python:
            place = with_urls(str(folder))
            err.add_note(
                f"Was the run begun in Python, with plugins or objects of its own? Then resume it "
                f"there, with a Trainer of the same: Trainer(...).resume({place!r})"
            )
        raise


def _names_objects(path: Path) -> bool:
    """Return whether a config describes objects that TOML cannot hold, as ``<array ...>``."""
    try:
        return '= "<' in path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def _config_of(run: Path | str | None) -> str:
    """Return the path of a finished run's config.

    Raises:
        ConfigError: If no run is given.
        RunFolderError: If it is not finished.
    """
    if run is None:
        raise ConfigError(
            f"Nothing says what to run. Give a recipe ({', '.join(recipes())}), the path of a TOML "
            f"file, or a finished run: tlkit run --from RUN."
        )
    folder = load_run(run).folder
    assert folder is not None
    return str(folder / CONFIG)


def read_config(source: str, overrides: Sequence[str] = ()) -> Config:
    """Return the tables of a recipe or config file, checked; plugins' options are not.

    Raises:
        ConfigError: If the config is not valid; the error names the file and the key.
    """
    _, tables, where = _read_and_override(source, overrides)
    return _validate(tables, where)


def _read_and_override(
    source: str, overrides: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return the tables as they stand in the file, those after the overrides, and their name."""
    tables, where = read(source)
    _lengthen(tables)
    original = copy.deepcopy(tables)
    for assignment in overrides:
        override(tables, assignment)
    if not _is_path(source):
        _name_after_dataset(original, tables, overrides)
    return original, tables, where


def _name_after_dataset(
    original: Mapping[str, Any], tables: Mapping[str, Any], overrides: Sequence[str]
) -> None:
    """Where ``--set`` names another data set than a recipe's, call the run after that one."""
    run, before, after = tables.get("run"), original.get("dataset"), tables.get("dataset")
    keys = ["".join(item.partition("=")[0].split()) for item in overrides]
    if "run.name" in keys or not all(isinstance(item, dict) for item in (run, before, after)):
        return
    name = cast(dict[str, Any], after).get("name")
    if isinstance(name, str) and name != cast(dict[str, Any], before).get("name"):
        cast(dict[str, Any], run)["name"] = name


def _drop_keys_of_old_plugins(
    original: Mapping[str, Any], tables: Mapping[str, Any], registry: Registry
) -> list[str]:
    """Where ``--set`` names another plugin, drop the file's keys that it does not take.

    Keys that were set by hand stay and are checked. Returns a line for each key that was dropped.
    """
    notes = []
    for kind in ("dataset", "backbone", "head", "workflow", "engine"):
        before, after = original.get(kind), tables.get(kind)
        if not (isinstance(before, dict) and isinstance(after, dict)):
            continue
        if before.get("name") == after.get("name") or not isinstance(after.get("name"), str):
            continue
        auto = (kind, after["name"]) == ("engine", "auto")
        plugin = None if auto else registry.get(kind, after["name"])
        for key, value in before.items():
            fits = plugin is not None and accepts(plugin, key, value)
            own = kind == "engine" and key in EngineTable.model_fields
            kept = after.get(key) != value or key == "name" or fits or own
            if not kept:
                del after[key]
                notes.append(f"[{kind}] {key} = {value!r} left out: not for {after['name']}.")
    return notes


def _lengthen(tables: dict[str, Any]) -> None:
    """Turn short forms, such as ``engine = "auto"`` and ``reporters = ["rich"]``, into tables."""
    engine = tables.get("engine")
    if isinstance(engine, str):
        tables["engine"] = {"name": engine}
    for kind, field in Config.model_fields.items():
        if isinstance(field.default, Table) and isinstance(tables.get(kind), dict):
            tables[kind].setdefault("name", field.default.name)
    compare = tables.get("compare")
    lists = [(tables, "reporters")]
    if isinstance(compare, dict):
        lists += [(compare, "backbones"), (compare, "heads")]
    for parent, key in lists:
        items = parent.get(key)
        if isinstance(items, list):
            parent[key] = [{"name": item} if isinstance(item, str) else item for item in items]


def _validate(tables: Mapping[str, Any], where: str) -> Config:
    try:
        return Config.model_validate(tables)
    except ValidationError as err:
        problem = err.errors()[0]
        location = [str(part) for part in problem["loc"]]
        raise ConfigError(
            f"{_explain(problem['type'], location, tables)}\n(received: {where})"
        ) from err


def _explain(problem: str, location: list[str], tables: Mapping[str, Any]) -> str:
    names, value, field = _find(location, tables)
    if problem == "extra_forbidden":
        parent, key = location[:-1], location[-1]
        _, _, parent_field = _find(parent, tables)
        model = None if parent_field is None else _model(parent_field.annotation)
        allowed = (model or Config).model_fields
        kind = f"key '{key}' in [{'.'.join(parent)}]" if parent else f"table [{key}]"
        return f"Unknown {kind}.{did_you_mean(key, allowed)}\nAllowed: {', '.join(allowed)}."
    if problem == "missing" and location[-1] == "name":
        table = ".".join(names).removesuffix(".name")
        return f"The table [{table}] has no name: say which plugin it means."
    if problem == "missing":
        key = location[-1]
        return f"The table [{key}] is missing: say which {key} to use, such as\n[{key}]\nname = ..."
    assert field is not None
    return (
        f"Wrong value for '{'.'.join(names)}': received {value!r}. "
        f"Allowed: {_allowed(field.annotation)}. {field.description or ''}".rstrip()
    )


def _find(
    location: Sequence[str], tables: Mapping[str, Any]
) -> tuple[list[str], Any, FieldInfo | None]:
    """Return the names that lead to a field of the config, its value as received, and the field.

    What follows in a location is of pydantic's making: the place in a list, the type in a union.
    """
    model: type[BaseModel] | None = Config
    names: list[str] = []
    value: Any = tables
    field = None
    for part in location:
        if model is None or part not in model.model_fields or not isinstance(value, Mapping):
            break
        names.append(part)
        field = model.model_fields[part]
        value = value.get(part)
        model = _model(field.annotation)
    return names, value, field


def _model(annotation: Any) -> type[BaseModel] | None:
    """Return the model of a table."""
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if is_model else None


def _allowed(annotation: Any) -> str:
    if _model(annotation) is not None:
        return "a table"
    if typing.get_origin(annotation) is list and _model(typing.get_args(annotation)[0]):
        return "a list of names, or of tables with a name and options"
    return describe_type(annotation)
