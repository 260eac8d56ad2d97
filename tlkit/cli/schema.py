"""``tlkit schema``: what the documents of ``--json`` look like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tlkit.answering import JsonOption, answers

if TYPE_CHECKING:
    from tlkit.documents.schema import Schemas


@answers
def schema(
    name: Annotated[
        str | None,
        typer.Argument(help="Such as tlkit.run/1, or config; the names of all if it is left out."),
    ] = None,
    json_: JsonOption = False,
) -> Schemas:
    """Print JSON Schemas: of a config, and of what --json prints."""
    import json

    from tlkit.documents.schema import Schemas, json_schemas

    if name == "config":
        from tlkit.config_schema import config_schema

        document = Schemas(schemas={name: config_schema()})
    else:
        document = Schemas(schemas=json_schemas(name))
    if not json_ and name is None:
        print("\n".join([*document.schemas, "config"]))
    elif not json_:
        print(json.dumps(next(iter(document.schemas.values())), indent=2))
    return document
