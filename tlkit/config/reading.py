"""A recipe or TOML file read, with ``--set`` applied."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from tlkit.config.checking import validate
from tlkit.config.recipes import recipe, recipes
from tlkit.config.tables import PLUGIN_TABLES, Config, Table, table_model
from tlkit.config.toml_errors import explain_toml_error
from tlkit.errors import ConfigError
from tlkit.mirror import fetched
from tlkit.paths import with_urls
from tlkit.run_folder import CONFIG, RUN

_MOST_NAMES = 5


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
            text, where = path.read_text(encoding="utf-8-sig"), with_urls(str(path))
        except (OSError, ValueError) as err:
            raise ConfigError(f"Cannot read the config {path}: {_reason(path, err)}") from err
    else:
        if source not in recipes() and (told := _of_a_folder(Path(source))):
            raise ConfigError(f"Cannot read the config {source}.{told}")
        if source not in recipes() and Path(source).suffix and Path(source).is_file():
            raise ConfigError(
                f"Cannot read the config {source}: allowed is TOML, in a file whose name ends in "
                f".toml, or the name of a recipe ({', '.join(recipes())})."
            )
        text, where = recipe(source), f"recipe {source}"
    try:
        return tomllib.loads(text), where
    except (tomllib.TOMLDecodeError, RecursionError) as err:
        raise ConfigError(f"{where} is no valid TOML: {explain_toml_error(text, err)}") from err


def _reason(path: Path, error: Exception) -> str:
    """Return why a file cannot be read, and what there is in its place."""
    if isinstance(error, UnicodeDecodeError):
        return "it is no text in UTF-8. Is it another file? Else save it as UTF-8."
    if isinstance(error, FileNotFoundError) and path.parent.is_dir():
        others = sorted(item.name for item in path.parent.glob("*.toml"))[:_MOST_NAMES]
        found = f"it has {', '.join(others)}" if others else "it has no TOML file"
        return f"No such file or directory. Looked in {path.parent.absolute()}: {found}."
    return f"{getattr(error, 'strerror', None) or error}.{_of_a_folder(path)}"


def _of_a_folder(path: Path) -> str:
    """Return what a folder in the place of a config may have meant; nothing of others."""
    try:
        is_folder = path.is_dir()
    except OSError:  # a name that no system takes
        is_folder = False
    if not is_folder:
        return ""
    if (path / RUN).is_file():
        return f" It is the folder of a finished run: tlkit run --from {path} starts from it."
    if (path / CONFIG).is_file():
        return f" It is the folder of a run that is not finished: tlkit resume {path} goes on."
    return (
        f" It is a folder. A config is a TOML file or a recipe; to train on pictures: tlkit run "
        f"cifar10 --set dataset.name=folder --set dataset.path={path}"
    )


def _is_path(source: str) -> bool:
    return Path(source).suffix == ".toml" or "/" in source or "\\" in source


def override(
    tables: dict[str, Any],
    assignment: str,
    homes: Callable[[str], Sequence[str]] = lambda _: (),
) -> None:
    """Apply one ``table.key=value`` to the tables, in place; or one ``table.table.key=value``.

    The value is read as TOML; what is no TOML is taken as text, so quotes may be left out.
    ``head=dense`` stands for ``head.name=dense``, for every table of a plugin.

    Args:
        tables: Those of a config.
        assignment: What to change.
        homes: Returns the tables that take a key, to tell of one that has no table.

    Raises:
        ConfigError: If the assignment has no ``=`` or no table.
    """
    key, equals, text = assignment.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if len(parts) == 1 and parts[0] in PLUGIN_TABLES:
        parts.append("name")
    wrong = len(parts) != 2 and parts != ["reporters"]
    wrong = wrong and not (len(parts) == 3 and _is_inner_table(*parts[:2]))
    if not equals or wrong or not all(parts) or parts[0] == "reporters" != key.strip():
        known = homes(parts[0]) if equals and len(parts) == 1 else ()
        told = " or ".join(f"--set {table}.{assignment.strip()}" for table in known)
        raise ConfigError(
            f"Cannot use --set {assignment!r}."
            + (f" Did you mean {told}?" if told else "")
            + " Allowed: TABLE.KEY=VALUE, such as --set backbone.name=resnet50_v2 or "
            "--set workflow.epochs=3."
        )
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError) as err:
        value = text.strip()
        if value[:1] in ("[", "{"):
            words = re.fullmatch(r"\[([\w.-]+(?:\s*,\s*[\w.-]+)*)\]", value)
            quoted = '["rich"]' if words is None else json.dumps(re.split(r"\s*,\s*", words[1]))
            example = f"{'reporters' if words is None else key.strip()}={quoted}"
            raise ConfigError(
                f"Cannot use --set {assignment!r}: {value} is no list or table of TOML. Text "
                f"in it stands in quotes, and the whole in others, as in --set '{example}'."
            ) from err
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
    model = None if field is None else table_model(field.annotation)
    found = None if model is None else model.model_fields.get(inner)
    return found is not None and table_model(found.annotation) is not None


def read_config(source: str, overrides: Sequence[str] = ()) -> Config:
    """Return the tables of a recipe or config file, checked; plugins' options are not.

    Raises:
        ConfigError: If the config is not valid; the error names the file and the key.
    """
    _, tables, where = read_and_override(source, overrides)
    return validate(tables, where)


def read_and_override(
    source: str,
    overrides: Sequence[str],
    homes: Callable[[str], Sequence[str]] = lambda _: (),
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return the tables as they stand in the file, those after the overrides, and their name."""
    tables, where = read(source)
    _lengthen(tables)
    original = copy.deepcopy(tables)
    for assignment in overrides:
        override(tables, assignment, homes)
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


def _lengthen(tables: dict[str, Any]) -> None:
    """Turn short forms, such as ``head = "linear"`` and ``reporters = ["rich"]``, into tables."""
    for kind in PLUGIN_TABLES:
        if isinstance(tables.get(kind), str):
            tables[kind] = {"name": tables[kind]}
    for kind, field in Config.model_fields.items():
        if isinstance(field.default, Table) and isinstance(tables.get(kind), dict):
            tables[kind].setdefault("name", field.default.name)
    if isinstance(tables.get("reporters"), str):
        tables["reporters"] = [tables["reporters"]]
    compare = tables.get("compare")
    lists = [(tables, "reporters")]
    if isinstance(compare, dict):
        lists += [(compare, "backbones"), (compare, "heads")]
    for parent, key in lists:
        items = parent.get(key)
        if isinstance(items, list):
            parent[key] = [{"name": item} if isinstance(item, str) else item for item in items]
