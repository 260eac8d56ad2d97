"""``tlkit recipes``: the recipes that ship with tlkit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tlkit.documents.base import Document, Part


class RecipeSummary(Part):
    """A recipe."""

    name: str
    summary: str


class Recipes(Document):
    """``tlkit recipes``: the recipes that ship with tlkit."""

    schema_: Literal["tlkit.recipes/1"] = Field(default="tlkit.recipes/1", alias="schema")
    recipes: list[RecipeSummary]


class Recipe(Document):
    """``tlkit recipes show``: one recipe."""

    schema_: Literal["tlkit.recipe/1"] = Field(default="tlkit.recipe/1", alias="schema")
    name: str
    toml: str = Field(description="Its text.")
