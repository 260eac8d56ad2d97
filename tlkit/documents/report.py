"""``tlkit report``: an HTML page."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tlkit.documents.base import AbsolutePath, Document


class Report(Document):
    """``tlkit report``: an HTML page was written."""

    schema_: Literal["tlkit.report/1"] = Field(default="tlkit.report/1", alias="schema")
    source: AbsolutePath = Field(description="The folder of the run, of runs, or of a sweep.")
    kind: Literal["run", "index", "sweep"] = Field(
        description="The page of a run, that of all runs, or that of a sweep."
    )
    file: AbsolutePath = Field(description="The page.")
