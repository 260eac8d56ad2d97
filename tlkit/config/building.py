"""A config turned into a Trainer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from tlkit.augmentation import Augmentation
from tlkit.backbone import Backbone
from tlkit.config.checking import validate
from tlkit.config.homes import homes, tell_homes
from tlkit.config.reading import read_and_override
from tlkit.config.recipes import recipes
from tlkit.config.tables import PLUGIN_TABLES, Config, EngineTable, Table
from tlkit.dataset import DatasetSource
from tlkit.errors import ConfigError, UnknownPluginError, WeightsError, did_you_mean
from tlkit.features import FeatureStore, shared_store
from tlkit.head import Head
from tlkit.mirror import fetched
from tlkit.options import (
    accepts,
    allowed_options,
    describe_type,
    takes_any_keyword,
    type_hints,
)
from tlkit.paths import with_urls
from tlkit.registry import Registry
from tlkit.reporter import Reporter
from tlkit.run_folder import CONFIG, is_summary, load_run
from tlkit.test_time_augmentation import TestTimeAugmentation
from tlkit.trainer import Trainer
from tlkit.unfinished import find_unfinished
from tlkit.workflow import Workflow

_OF_THE_CONFIG = (ConfigError, WeightsError, UnknownPluginError)


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
        WeightsError: If a backbone does not know the weights.
        RunFolderError: If there is no such finished run.
    """
    if source is None:
        source = _config_of(start_from)
    registry = registry if registry is not None else Registry()

    def tables_with(key: str) -> Sequence[str]:
        return homes(key, registry)

    original, tables, where = read_and_override(source, overrides, tables_with)
    if start_from is not None and isinstance(tables.setdefault("run", {}), dict):
        tables["run"]["start_from"] = str(start_from)
    if overrides:
        where += " with " + " ".join(f"--set {item}" for item in overrides)
    try:
        by_hand = {"".join(item.partition("=")[0].split()) for item in overrides}
        notes = _drop_keys_of_old_plugins(original, tables, by_hand, registry)
        config = validate(tables, where, tables_with)
        shared = config.features.store
        if shared:
            store = shared_store(shared, store)
        trainer = _make_trainer(config, where, runs, store, registry)
    except _OF_THE_CONFIG as err:
        if "(received:" in str(err):
            raise
        # Not of the error's own class: a plugin's may take other arguments.
        kind = next(item for item in _OF_THE_CONFIG if isinstance(err, item))
        raise kind(f"{err}\n(received: {where})") from err
    trainer.notes += notes
    return trainer


def _make_trainer(
    config: Config,
    where: str,
    runs: Path | str | None,
    store: FeatureStore | None,
    registry: Registry,
) -> Trainer:
    def create(kind: str, table: Table) -> Any:
        return _make_plugin(kind, table, where, registry)

    run, features, looks = config.run, config.features, config.test_time_augmentation
    return Trainer(
        backbone=cast(Backbone, create("backbone", config.backbone)),
        head=cast(Head, create("head", config.head)),
        dataset=cast(DatasetSource, create("dataset", config.dataset)),
        workflow=cast(Workflow, create("workflow", config.workflow)),
        reporters=[cast(Reporter, create("reporter", item)) for item in config.reporters],
        engine=_make_engine(config.engine, where, registry),
        name=run.name,
        seed=run.seed,
        validation=run.validation,
        duplicates=run.duplicates,
        save=run.save,
        calibrate=run.calibrate,
        few_shot=run.few_shot,
        test_images=run.test_images,
        distribute=run.distribute,
        start_from=run.start_from,
        old_classes=run.old_classes,
        feature_type=features.dtype,
        views=features.views,
        augmentation=Augmentation(**features.model_dump(exclude={"dtype", "views", "store"})),
        test_time_augmentation=TestTimeAugmentation(looks.mirror, tuple(looks.scales)),
        runs=runs,
        store=store,
        registry=registry,
    )


def _make_plugin(kind: str, table: Table, where: str, registry: Registry) -> Any:
    options = dict(table.model_extra or {})
    _check_homes(kind, table.name, options, where, registry)
    label = f"[[{kind}s]]" if kind == "reporter" else f"[{kind}]"
    return registry.create(kind, table.name, f"{label} in {where}", **options)


def _check_homes(
    kind: str, name: str, options: Mapping[str, Any], where: str, registry: Registry
) -> None:
    """Refuse a key that is another table's, and say whose; others the plugin's check tells."""
    plugin = registry.get(kind, name)
    own = allowed_options(plugin)
    for key in options:
        found = [table for table in homes(key, registry) if table != kind]
        if key in own or takes_any_keyword(plugin) or not found or did_you_mean(key, own):
            continue
        raise ConfigError(
            f"Unknown key '{key}' for {kind} '{name}'.{tell_homes(found)}\nAllowed keys here: "
            f"{', '.join(own) or 'none'}.\n(received: {where})"
        )


def _make_engine(table: EngineTable, where: str, registry: Registry) -> dict[str, Any]:
    """Return the engine as the Trainer takes it: with the machines that it runs on."""
    where_to = {"distribute": table.distribute, "ray": table.ray.model_dump()}
    if table.ray.model_fields_set and "distribute" not in table.model_fields_set:
        raise ConfigError(
            f"[engine] ray is set, and distribute = 'ray' is not. Set it, or distribute = "
            f"'none' to keep these settings for later.\n(received: {where})"
        )
    if table.name == "auto":
        return {"name": "auto", **(table.model_extra or {}), **where_to}
    return {"name": _make_plugin("engine", table, where, registry), **where_to}


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


def _drop_keys_of_old_plugins(
    original: Mapping[str, Any],
    tables: Mapping[str, Any],
    by_hand: Collection[str],
    registry: Registry,
) -> list[str]:
    """Where ``--set`` names another plugin, drop the file's keys that it does not take.

    Keys that were set by hand, as ``head.units``, stay and are checked. Returns a line for each key
    that was dropped.
    """
    notes = []
    for kind in PLUGIN_TABLES:
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
            given = f"{kind}.{key}" in by_hand
            if not (given or key == "name" or fits or own):
                del after[key]
                reason = f"not for {after['name']}"
                if plugin is not None and key in allowed_options(plugin):
                    wanted = describe_type(type_hints(plugin).get(key))
                    reason = f"{key} of {after['name']} is {wanted}"
                notes.append(f"[{kind}] {key} = {value!r} left out: {reason}.")
    return notes
