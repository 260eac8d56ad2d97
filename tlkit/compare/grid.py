"""Grid: which cells a comparison has, and what tells them apart."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tlkit.config.building import build_trainer
from tlkit.config.reading import read_config
from tlkit.errors import ConfigError, UnknownPluginError
from tlkit.features import FeatureStore
from tlkit.registry import Registry
from tlkit.reporter import Reporter
from tlkit.run_folder import config_text
from tlkit.trainer import Trainer

Choice = str | Mapping[str, Any]
FewShot = int | Literal["all"]


@dataclass(frozen=True)
class Planned:
    """A cell before it is run.

    Attributes:
        backbone: Its name, with the options that the grid gives it.
        head: Its name, with the options that the grid gives it.
        few_shot: Images of each class to train on; 0 for all.
        seed: Seed of the run.
        digest: SHA-256 of the resolved config; empty if the config is not valid.
        overrides: What makes the cell out of the config.
        error: Why the config is not valid; None if it is.
    """

    backbone: str
    head: str
    few_shot: int
    seed: int
    digest: str
    overrides: tuple[str, ...]
    error: str | None = None


@dataclass(frozen=True)
class Grid:
    """The cells of a comparison, and how to make a Trainer of one."""

    source: str
    cells: tuple[Planned, ...]
    runs: Path
    store: FeatureStore
    registry: Registry

    def trainer(self, cell: Planned) -> Trainer:
        """Make the Trainer of one cell.

        Its reporters are those of the config, except ``rich``, which shows one run at a time.
        """
        trainer = _trainer(self.source, cell.overrides, self.runs, self.store, self.registry)
        trainer.reporters = [item for item in trainer.reporters if item.name != "rich"]
        trainer.comparison = self.runs.parent
        return trainer

    def reporters(self) -> list[Reporter]:
        """Make the reporters that are told of the whole comparison."""
        valid = next(cell for cell in self.cells if cell.error is None)
        return self.trainer(valid).reporters


def plan(
    source: str,
    backbones: Sequence[Choice],
    heads: Sequence[Choice],
    few_shot: Sequence[FewShot],
    seeds: Sequence[int],
    overrides: Sequence[str],
    *,
    runs: Path,
    store: FeatureStore,
    registry: Registry,
) -> Grid:
    """Lay out the grid: all cells of one backbone follow one another.

    What is not given comes from the config's ``[compare]`` table, and else from its ``[backbone]``,
    ``[head]`` and ``[run]`` tables.

    Args:
        source: The name of a recipe, or the path of a TOML file.
        backbones: Names, or mappings with ``name`` and options.
        heads: Names, or mappings with ``name`` and options.
        few_shot: Numbers of images of each class to train on; 0 or ``"all"`` for all.
        seeds: Seeds of the runs.
        overrides: ``TABLE.KEY=VALUE`` each, applied to every cell before its own settings.
        runs: Folder of the run folders.
        store: Where features are kept.
        registry: Where names are looked up.

    Raises:
        ConfigError: If the config is not valid, or no cell of the grid is.
        UnknownPluginError: If a name is not registered.
    """
    config = read_config(source, overrides)
    table = config.compare
    rows = _choices("backbone", backbones or [item.model_dump() for item in table.backbones])
    columns = _choices("head", heads or [item.model_dump() for item in table.heads])
    seeds = tuple(dict.fromkeys(seeds or table.seeds))
    counts = tuple(dict.fromkeys(map(_count, few_shot or table.few_shot)))
    if not rows and not columns and len(seeds) < 2 and len(counts) < 2:
        raise ConfigError(
            f"Nothing to compare with {source}. Give --backbones, --heads, several --few-shot or "
            f"several --seeds, or write a [compare] table into the config; or give two or more run "
            f"folders."
        )
    cells: dict[str, Planned] = {}
    # Seeds before heads: cells that share their images follow one another.
    for (backbone, its), seed, (head, more), count in itertools.product(
        rows or [(config.backbone.name, ())],
        seeds or (config.run.seed,),
        columns or [(config.head.name, ())],
        counts or (config.run.few_shot,),
    ):
        few = f"-few{count}" if count else ""
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{backbone}-{head}{few}-seed{seed}")[:100]
        run = (f"run.seed={seed}", f"run.few_shot={count}", f"run.name={json.dumps(name)}")
        wanted = (*overrides, *its, *more, *run)
        digest, error = "", None
        try:
            digest = config_digest(_trainer(source, wanted, runs, store, registry).config)
        except UnknownPluginError:
            raise
        except ConfigError as err:
            error = str(err)
        cell = Planned(backbone, head, count, seed, digest, wanted, error)
        cells.setdefault(digest or f"{backbone}, {head}, {count}, {seed}", cell)
    if all(cell.error is not None for cell in cells.values()):
        raise ConfigError(f"No cell of the grid is valid. {next(iter(cells.values())).error}")
    return Grid(source, tuple(cells.values()), runs, store, registry)


def config_digest(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a resolved config, without what changes no figure.

    Those are the run's name, whether it keeps test images, its reporters, where features are
    computed and shared, and a test-time augmentation that is off, which older configs do not have.
    """
    tables = tomllib.loads(config_text(config))
    tables.get("run", {}).pop("name", None)
    tables.get("run", {}).pop("test_images", None)
    tables.pop("reporters", None)
    tables.get("features", {}).pop("store", None)
    for key in ("distribute", "ray"):
        tables.get("engine", {}).pop(key, None)
    if not any(tables.get("test_time_augmentation", {}).values()):
        tables.pop("test_time_augmentation", None)
    return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()


def _trainer(
    source: str, overrides: Sequence[str], runs: Path, store: FeatureStore, registry: Registry
) -> Trainer:
    return build_trainer(source, overrides, runs=runs, store=store, registry=registry)


def _count(given: object) -> int:
    """Return a number of images of each class; 0 for all."""
    if given == "all":
        return 0
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise ConfigError(
            f"few_shot {given!r} is not allowed: a number of images of each class, 1 or more; or 0 "
            f"or 'all' for all images."
        )
    return given


def _choices(kind: str, given: Sequence[Choice]) -> list[tuple[str, tuple[str, ...]]]:
    """Return for each choice its label and its overrides."""
    found = []
    for item in given:
        options = {"name": item} if isinstance(item, str) else item
        name = options.get("name") if isinstance(options, Mapping) else None
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(
                f"Cannot use {item!r} as {kind}. Allowed: a registered name, or a mapping with "
                f"'name' and options."
            )
        try:
            overrides = tuple(
                f"{kind}.{key}={json.dumps(value, ensure_ascii=False)}"
                for key, value in options.items()
            )
        except TypeError as err:
            raise ConfigError(f"Cannot use {item!r} as {kind}: {err}.") from err
        extras = [f"{key}={value}" for key, value in options.items() if key != "name"]
        found.append((" ".join([name, *extras]), overrides))
    return found
