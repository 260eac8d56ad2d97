"""``tlkit recipes``: list the recipes that ship with tlkit, or print one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tlkit.answering import JsonOption, answers
from tlkit.errors import ConfigError
from tlkit.screen import show_table

if TYPE_CHECKING:
    from tlkit.documents.recipes import Recipe, Recipes

recipes_app = typer.Typer(help="List the recipes that ship with tlkit, or print one.")


@recipes_app.callback(invoke_without_command=True)
@answers
def recipes_list(context: typer.Context, json_: JsonOption = False) -> Recipes | None:
    """List the recipes that ship with tlkit."""
    if context.invoked_subcommand is not None:
        if json_:
            raise ConfigError("Give --json at the end: tlkit recipes show NAME --json.")
        return None
    from tlkit.config.recipes import recipes
    from tlkit.documents.recipes import Recipes, RecipeSummary

    rows = []
    for name, text in recipes().items():
        lines = [line[1:].strip() for line in text.splitlines() if line.startswith("#")]
        rows.append((name, f"{' '.join(lines).split(': ')[0].rstrip('.')}."))
    if not json_:
        show_table(("Recipe", "What"), rows)
    return Recipes(recipes=[RecipeSummary(name=name, summary=text) for name, text in rows])


@recipes_app.command("show")
@answers
def recipes_show(
    name: Annotated[str, typer.Argument(help="Name of a recipe.")], json_: JsonOption = False
) -> Recipe:
    """Print a recipe, to copy and change."""
    from tlkit.config.recipes import recipe
    from tlkit.documents.recipes import Recipe

    document = Recipe(name=name, toml=recipe(name))
    if not json_:
        print(document.toml, end="")
    return document
