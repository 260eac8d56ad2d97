"""``tlkit card``: a model card or a lab report."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tlkit.documents.base import AbsolutePath, Document


class Card(Document):
    """``tlkit card``: where the card was written."""

    schema_: Literal["tlkit.card/1"] = Field(default="tlkit.card/1", alias="schema")
    run: AbsolutePath = Field(description="The run folder.")
    kind: Literal["model-card", "lab-report"]
    file: AbsolutePath = Field(description="The Markdown file.")
