"""``tlkit cache``: list or delete stored features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from tlkit.answering import JsonOption, answers
from tlkit.screen import echo, show_table

if TYPE_CHECKING:
    from tlkit.documents.cache import Cache, CacheCleared

cache_app = typer.Typer(help="List or delete stored features.", no_args_is_help=True)


@cache_app.command("list")
@answers
def cache_list(json_: JsonOption = False) -> Cache:
    """List stored features: backbone, images, size, age.

    These are the ones of this machine; shared ones ([features] store) are not looked at.
    """
    import time

    from tlkit.documents.cache import Cache, StoredFeatures
    from tlkit.features import FeatureStore

    store = FeatureStore()
    entries = [StoredFeatures.model_validate(entry) for entry in store.entries()]
    document = Cache(folder=store.folder, entries=entries)
    if json_:
        return document
    rows = [
        (
            entry.fingerprint[:12],
            entry.backbone,
            entry.images,
            entry.dtype,
            "x".join(str(side) for side in entry.shape),
            f"{entry.bytes / 1e6:.1f} MB",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.modified)),
            "whole" if entry.complete else "interrupted",
        )
        for entry in entries
    ]
    show_table(
        ("Key", "Backbone", "Images", "Type", "Shape", "Size", "Written", "State"),
        rows,
        spare=("Key", "Type", "Written", "Shape"),
    )
    echo(f"{sum(entry.bytes for entry in entries) / 1e6:.1f} MB in {store.folder}")
    if not all(entry.complete for entry in entries):
        echo("Interrupted ones go on when the next run needs them.")
    return document


@cache_app.command("clear")
@answers
def cache_clear(json_: JsonOption = False) -> CacheCleared:
    """Delete stored features; they are made again when needed.

    What engines were measured at is deleted too. Only the folder of this machine is cleared:
    features that are shared ([features] store) stay there, and are copied from there when needed.
    """
    from tlkit.documents.cache import CacheCleared
    from tlkit.engine_choice import engines_folder, forget
    from tlkit.features import FeatureStore

    store = FeatureStore()
    document = CacheCleared(folder=store.folder, freed_bytes=store.clear())
    forget(engines_folder(store.folder))
    if not json_:
        echo(f"Freed {document.freed_bytes / 1e6:.1f} MB in {store.folder}")
    return document
