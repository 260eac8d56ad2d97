"""What a Trainer is told: which values are allowed, and the config that they make."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tlkit.engine import Engine
from tlkit.errors import ConfigError, did_you_mean
from tlkit.paths import with_urls
from tlkit.plugin import Plugin
from tlkit.ray_cluster import RayCluster

if TYPE_CHECKING:
    from tlkit.trainer import Trainer

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def config_of(trainer: Trainer) -> dict[str, Any]:
    """Return every setting of a Trainer, defaults included, as its config file has them."""
    return {
        "run": {
            "name": trainer.name,
            "seed": trainer.seed,
            "validation": trainer.validation,
            "duplicates": trainer.duplicates,
            "save": list(trainer.save),
            "calibrate": trainer.calibrate,
            "few_shot": trainer.few_shot,
            "test_images": trainer.test_images,
            **({} if trainer.distribute == "none" else {"distribute": trainer.distribute}),
            **_origin(trainer),
        },
        "dataset": table(trainer.dataset),
        "backbone": table(trainer.backbone),
        "head": table(trainer.head),
        "workflow": table(trainer.workflow),
        "engine": {
            **({"name": "auto"} if trainer.engine is None else table(trainer.engine)),
            **_distribution(trainer),
        },
        "features": {
            "dtype": trainer.feature_type,
            "views": trainer.views,
            **asdict(trainer.augmentation),
            **({"store": trainer.store.shared} if trainer.store.shared else {}),
        },
        "test_time_augmentation": {
            "mirror": trainer.test_time_augmentation.mirror,
            "scales": list(trainer.test_time_augmentation.scales),
        },
        "reporters": [table(reporter) for reporter in trainer.reporters],
    }


def _origin(trainer: Trainer) -> dict[str, str]:
    """Return the keys that only a run has that starts from another."""
    if trainer.start_from is None:
        return {}
    return {"start_from": with_urls(str(trainer.start_from)), "old_classes": trainer.old_classes}


def _distribution(trainer: Trainer) -> dict[str, Any]:
    """Return the keys that only a run has whose features are computed on a cluster."""
    if trainer.cluster is None:
        return {}
    options = trainer.cluster.options
    return {"distribute": "ray", **({"ray": options} if options else {})}


def table(plugin: Plugin) -> dict[str, Any]:
    """Return a plugin as a table of the config: its name and its options."""
    name = plugin.name or f"{type(plugin).__module__}.{type(plugin).__qualname__}"
    return {"name": name, **plugin.options}


def check_settings(trainer: Trainer) -> None:
    """Check all settings that are no plugins.

    Raises:
        ConfigError: If a value is not allowed.
    """
    if not NAME_PATTERN.fullmatch(trainer.name):
        raise ConfigError(
            f"[run] name = {trainer.name!r} is not allowed: up to 100 letters, digits, '.', '_' "
            f"and '-', the first a letter or digit."
        )
    # Those of others' plugins may have none, or compute it.
    size = getattr(trainer.backbone, "image_size", 1)
    if isinstance(size, int) and size < 1:
        raise ConfigError(f"[backbone] image_size = {size} is not allowed: 1 pixel or more.")
    if not 0 <= trainer.seed < 2**32:
        raise ConfigError(f"[run] seed = {trainer.seed} is not allowed: 0 to 4294967295.")
    if trainer.validation != "test" and not (
        isinstance(trainer.validation, float) and 0 < trainer.validation < 1
    ):
        share = trainer.validation
        received = f"{share:g}" if isinstance(share, float) else repr(share)
        raise ConfigError(
            f"[run] validation = {received} is not allowed: a share of the training images above "
            f"0 and below 1, or 'test'."
        )
    if trainer.duplicates not in ("report", "error", "drop"):
        raise ConfigError(
            f"[run] duplicates = {trainer.duplicates!r} is not allowed: 'report', 'error', 'drop'."
        )
    _check_distribute(trainer)
    _check_old_classes(trainer)
    if trainer.feature_type not in ("float32", "float16"):
        raise ConfigError(
            f"[features] dtype = {trainer.feature_type!r} is not allowed: 'float32', 'float16'."
        )
    if trainer.few_shot < 0:
        raise ConfigError(f"[run] few_shot = {trainer.few_shot} is not allowed: 0 or more.")
    if trainer.views < 0:
        raise ConfigError(f"[features] views = {trainer.views} is not allowed: 0 or more.")
    unknown = [item for item in trainer.save if item not in ("keras", "h5")]
    if unknown or not trainer.save:
        raise ConfigError(
            f"[run] save = {list(trainer.save)!r} is not allowed: 'keras', 'h5' or both."
        )


def _check_distribute(trainer: Trainer) -> None:
    if trainer.distribute not in ("none", "mirrored", "multi_worker"):
        raise ConfigError(
            f"[run] distribute = {trainer.distribute!r} is not allowed: 'none', 'mirrored', "
            f"'multi_worker'."
        )
    if trainer.distribute != "none" and not trainer.workflow.fine_tunes:
        raise ConfigError(
            f"[run] distribute = {trainer.distribute!r} shares the batches of fine-tuning, and "
            f"the workflow '{trainer.workflow.name}' trains the head alone, which takes seconds. "
            f"Set [workflow] fine_tune_epochs, or distribute = 'none'."
        )


def _check_old_classes(trainer: Trainer) -> None:
    if trainer.old_classes not in ("error", "drop", "replay"):
        raise ConfigError(
            f"[run] old_classes = {trainer.old_classes!r} is not allowed: 'error', 'drop', "
            f"'replay'."
        )
    if trainer.old_classes != "error" and trainer.start_from is None:
        raise ConfigError(
            f"[run] old_classes = {trainer.old_classes!r} is about a run that this one starts "
            f"from; name it: [run] start_from, or tlkit run --from RUN."
        )


def cluster_of(engine: Any) -> tuple[Any, RayCluster | None]:
    """Return what was given as engine without where it runs, and the cluster; None for none.

    Raises:
        ConfigError: If that is not allowed.
    """
    if not isinstance(engine, Mapping):
        return engine, None
    options = dict(engine)
    distribute, cluster = options.pop("distribute", "none"), options.pop("ray", {})
    if distribute not in ("none", "ray") or not isinstance(cluster, Mapping):
        raise ConfigError(
            f"[engine] distribute = {distribute!r}, ray = {cluster!r} is not allowed: 'none' or "
            f"'ray', and a table with {', '.join(RayCluster.__annotations__)}."
        )
    unknown = [key for key in cluster if key not in RayCluster.__annotations__]
    if unknown:
        raise ConfigError(
            f"Unknown key '{unknown[0]}' in [engine.ray]."
            f"{did_you_mean(str(unknown[0]), RayCluster.__annotations__)}\n"
            f"Allowed: {', '.join(RayCluster.__annotations__)}."
        )
    named = options["name"] if isinstance(options.get("name"), Engine) else options
    return named, RayCluster(**cluster) if distribute == "ray" else None
