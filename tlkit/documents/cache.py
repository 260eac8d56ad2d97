"""``tlkit cache``: stored features."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tlkit.documents.base import AbsolutePath, Document, Part


class StoredFeatures(Part):
    """Features on disk."""

    fingerprint: str = Field(description="SHA-256 of all that they depend on.")
    backbone: str
    images: str = Field(description="Which images they are of.")
    dtype: str
    shape: list[int] = Field(description="Number of images, then the shape of one's features.")
    bytes: int
    modified: float = Field(description="Seconds since 1970.")
    complete: bool = Field(description="False if an extraction was interrupted.")


class Cache(Document):
    """``tlkit cache list``: stored features."""

    schema_: Literal["tlkit.cache-list/1"] = Field(default="tlkit.cache-list/1", alias="schema")
    folder: AbsolutePath
    entries: list[StoredFeatures]


class CacheCleared(Document):
    """``tlkit cache clear``: what was freed."""

    schema_: Literal["tlkit.cache-clear/1"] = Field(default="tlkit.cache-clear/1", alias="schema")
    folder: AbsolutePath
    freed_bytes: int
