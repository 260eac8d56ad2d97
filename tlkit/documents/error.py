"""What every command prints in place of its document when it ends with an error."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tlkit.documents.base import Document


class Error(Document):
    """What every command prints in place of its document when it ends with an error."""

    schema_: Literal["tlkit.error/1"] = Field(default="tlkit.error/1", alias="schema")
    status: Literal["error"] = "error"
    type: str = Field(description="The class of the error, such as ConfigError.")
    message: str = Field(description="What was received, what is allowed, what to do.")
    exit_code: int = Field(description="1 failed, 2 bad input, 130 interrupted.")
    next_command: str | None = Field(
        default=None,
        description="After an interrupt: what to give to a shell to go on, or to run it again; "
        "null otherwise, and where nothing is to be said.",
    )
