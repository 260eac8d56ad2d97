"""Parameters that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")]


class OneRunCommand(TyperCommand):
    """A command that takes one run: of several it says that a pattern may have fitted them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of a command line."""
        try:
            return super().parse_args(ctx, args)
        except Exception as err:  # typer's own class of errors, or that of the package click
            if "extra argument" in str(getattr(err, "message", "")):
                err.message += (  # type: ignore[attr-defined]
                    ". This command takes one run. Does a pattern such as runs/*-digits fit "
                    "several? Name one of them."
                )
            raise


SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="TABLE.KEY=VALUE", help="Change one setting; may be given again."
    ),
]
