"""``tlkit schema``: the JSON Schemas of all documents, by name and version."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, Literal

from pydantic import Field, JsonValue

import tlkit.documents
from tlkit.documents.base import Document
from tlkit.errors import ConfigError, nearest


def documents() -> dict[str, type[Document]]:
    """Return every kind of document by name and version, sorted."""
    for module in pkgutil.iter_modules(tlkit.documents.__path__):
        importlib.import_module(f"tlkit.documents.{module.name}")
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


class Schemas(Document):
    """``tlkit schema``: the JSON Schemas of these documents."""

    schema_: Literal["tlkit.schema/1"] = Field(default="tlkit.schema/1", alias="schema")
    schemas: dict[str, dict[str, JsonValue]] = Field(description="By name and version.")
