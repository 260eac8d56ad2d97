"""``tlkit serve``: where it serves."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tlkit.documents.base import AbsolutePath, Document


class Serving(Document):
    """``tlkit serve``: where it serves; it goes on serving after this document."""

    schema_: Literal["tlkit.serve/1"] = Field(default="tlkit.serve/1", alias="schema")
    run: AbsolutePath = Field(description="The run folder.")
    url: str = Field(description="Where it listens, with the port; no slash at the end.")
    model: str = Field(description="The model's name in addresses: url/v2/models/NAME.")
    engine: str = Field(description="The engine that runs the model.")
    wants_token: bool = Field(description="Whether callers need a token.")
    loopback: bool = Field(description="Whether only this machine can reach it.")
    max_batch: int = Field(description="Most pictures that the model sees at once.")
    max_delay_ms: float = Field(description="How long a picture waits for others, in ms.")
    max_body_bytes: int = Field(description="The largest body of a request.")
    max_pictures: int = Field(description="Most pictures that are answered at one time.")
    timeout: float = Field(description="Seconds to receive a request, and again to answer it.")
