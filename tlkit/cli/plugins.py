"""Commands for plugins and their authors: ``plugins``, ``check``, ``new-plugin``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tlkit.answering import JsonOption, answers
from tlkit.screen import echo, echo_lines, say, show_groups, show_table

if TYPE_CHECKING:
    from tlkit.documents.plugins import Checks, NewPlugin, Plugins


@answers
def plugins(
    kind: Annotated[
        str | None,
        typer.Option(help="backbone, head, reporter, dataset, workflow or engine; by default all."),
    ] = None,
    json_: JsonOption = False,
) -> Plugins:
    """List the plugins, and packages that failed to load."""
    from tlkit.documents.plugins import BrokenPlugin, PluginEntry, Plugins
    from tlkit.registry import Registry, check_kind

    kind = None if kind is None else check_kind(kind)
    registry = Registry()
    document = Plugins(
        plugins=[
            PluginEntry(
                kind=entry.kind,
                name=entry.name,
                distribution=entry.distribution,
                version=entry.version,
                summary=entry.plugin.summary(),
            )
            for entry in registry.list(kind)
        ],
        broken=[BrokenPlugin.model_validate(item) for item in registry.broken],
        left_out=registry.left_out,
        warnings=registry.warnings,
    )
    if json_:
        return document
    if sys.stdout.isatty():
        groups: dict[str, list[tuple[str, str]]] = {}
        for entry in document.plugins:
            built_in = entry.distribution == "tlkit"
            origin = f"{entry.distribution} {entry.version}".strip()
            source = "" if built_in else f" From {origin}."
            groups.setdefault(f"{entry.kind.capitalize()}s", []).append(
                (entry.name, f"{entry.summary}{source}")
            )
        show_groups(groups)
    else:
        rows = [
            (entry.kind, entry.name, f"{entry.distribution} {entry.version}", entry.summary)
            for entry in document.plugins
        ]
        show_table(("Kind", "Name", "From", "What"), rows)
    for item in document.broken:
        source = f"{item.distribution} {item.version}".strip()
        point = f", entry point {item.entry_point}" if item.entry_point else ""
        say(f"Broken: {source}{point}: {item.reason}")
    if document.left_out:
        say(f"Left out by TLKIT_PLUGINS: {', '.join(document.left_out)}")
    for text in document.warnings:
        say(f"Warning: {text}")
    return document


@answers
def check(
    target: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE.py",
            help="A registered name; or a file, FILE.py:CLASS for one class of it.",
        ),
    ],
    kind: Annotated[
        str | None, typer.Option(help="Its kind, where several plugins have that name.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A keyword of its constructor; may be given again."
        ),
    ] = None,
    json_: JsonOption = False,
) -> Checks:
    """Check that a plugin does what tlkit asks of its kind.

    The exit code is 1 if it does not.
    """
    from tlkit.testing.command import check as run_suite

    return run_suite(target, kind, set_ or [], quiet=json_)


@answers
def new_plugin(
    name: Annotated[str, typer.Argument(help="What a config is to call it, such as my-head.")],
    kind: Annotated[
        str, typer.Option(help="backbone, head, reporter, dataset, workflow or engine.")
    ],
    output: Annotated[Path, typer.Option(help="Folder to make its folder in.")] = Path(),
    json_: JsonOption = False,
) -> NewPlugin:
    """Write a plugin package that works at once.

    It installs, is found, passes its tests and runs.
    """
    from tlkit.new_plugin.writing import write_plugin

    document = write_plugin(name, kind, output)
    if not json_:
        echo(f"The {kind} '{document.name}' is in {document.folder}. Go on with:")
        echo_lines("\n".join(document.commands))
    return document
