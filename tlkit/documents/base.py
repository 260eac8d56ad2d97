"""What all documents are made of: numbers, paths, parts, and the document itself."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

from tlkit.paths import with_urls
from tlkit.store_urls import local_place


def _finite(value: Any) -> Any:
    return value if not isinstance(value, float) or math.isfinite(value) else None


# JSON has no infinity and no NaN: what is no number is null.
Number = Annotated[float | None, BeforeValidator(_finite)]
AbsolutePath = Annotated[
    Path,
    AfterValidator(lambda path: local_place(path).absolute()),
    PlainSerializer(lambda path: with_urls(str(path)), when_used="json"),
    WithJsonSchema({"type": "string", "format": "path"}, mode="serialization"),
]
Share = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """A part of a document; it can be made of any object with these attributes."""

    model_config = ConfigDict(
        from_attributes=True,
        populate_by_name=True,
        allow_inf_nan=False,
        # All fields are always there, which the schema should promise.
        json_schema_serialization_defaults_required=True,
    )


class Document(Part):
    """What a command prints: one object.

    A document of your own is a subclass with a name and a version::

        class Survey(Document):
            schema_: Literal["tlkit.survey/1"] = Field(default="tlkit.survey/1", alias="schema")
    """

    schema_: str = Field(alias="schema", description="Name and version of this document's schema.")
    status: Literal["ok", "failed", "error"] = Field(
        default="ok",
        description='"ok"; "failed" if a part of what was asked for failed, and the exit code is '
        '1; "error" in tlkit.error only.',
    )

    def text(self) -> str:
        """Return the document as JSON, in ASCII: it changes no terminal and breaks no encoding."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=2, allow_nan=False)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema (draft 2020-12) of the document."""
        schema = cls.model_json_schema(mode="serialization")
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}

    @classmethod
    def schema_id(cls) -> str:
        """Return the name and version, such as ``tlkit.run/1``."""
        return str(cls.model_fields["schema_"].default)
