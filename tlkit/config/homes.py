"""Which tables of a config take a key, to tell where a key that stands elsewhere belongs."""

from __future__ import annotations

from collections.abc import Sequence

from tlkit.config.tables import Config, Table, table_model
from tlkit.options import allowed_options
from tlkit.registry import Registry


def homes(key: str, registry: Registry) -> list[str]:
    """Return the names of the tables that take a key.

    Args:
        key: Without its table.
        registry: The plugins whose options are looked through.
    """
    fixed = [
        name
        for name, field in Config.model_fields.items()
        if (model := table_model(field.annotation)) is not None
        and not issubclass(model, Table)
        and key in model.model_fields
    ]
    of_plugins = [
        entry.kind
        for entry in registry.list()
        if entry.kind != "reporter" and key in allowed_options(entry.plugin)
    ]
    return list(dict.fromkeys([*fixed, *of_plugins]))


def tell_homes(found: Sequence[str]) -> str:
    """Return a sentence, with a space before it, that says whose key it is; nothing of none."""
    return f" It is a key of {' or '.join(f'[{table}]' for table in found)}." if found else ""
