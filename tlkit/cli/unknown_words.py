"""Commands that say what may be meant by words that they do not take."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """A command that says why it may have got more words, or an option that is none."""

    too_many = ""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of a command line."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except Exception as err:  # typer's own class of errors, or that of the package click
            said = str(getattr(err, "message", ""))
            takes_settings = any("--set" in item.opts for item in self.params)
            if "extra argument" in said:
                err.message += _setting_without_set(given, said) or self.too_many  # type: ignore[attr-defined]
            elif "No such option" in said and takes_settings:
                err.message += _setting_as_option(getattr(err, "option_name", ""))  # type: ignore[attr-defined]
            raise


class Group(TyperGroup):
    """The command line, which names its commands where one is not known."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that a line names."""
        try:
            return super().resolve_command(ctx, args)
        except Exception as err:
            said = str(getattr(err, "message", ""))
            if "No such command" in said and "Did you mean" not in said:
                err.message += f" Commands: {', '.join(self.list_commands(ctx))}."  # type: ignore[attr-defined]
            raise


class OneRunCommand(Command):
    """A command that takes one run; a pattern may have fitted several."""

    too_many = (
        ". This command takes one run. Does a pattern such as runs/*-digits fit several? Name one "
        "of them."
    )


def _setting_without_set(words: list[str], extra: str) -> str:
    """Return how a setting that was written in several words, or without ``--set``, is written.

    Args:
        words: The whole command line.
        extra: What the parser says of the words that are too many.
    """
    for index, word in enumerate(words):
        given = words[index + 1 :]
        if word != "--set" or len(given) < 2:
            continue
        spaced = re.match(
            r"([\w.]+) (?:= |=|)(?!--)(\S+)|([\w.]+)= (?!--)(\S+)", " ".join(given[:3])
        )
        if "=" not in given[0] and re.match(r"\w+=", given[1]):
            return f". Did you mean --set {given[0]}.{given[1]}?"
        if spaced is not None:
            return f". Did you mean --set {spaced[1] or spaced[3]}={spaced[2] or spaced[4]}?"
    for before, word in zip(["", *words], words, strict=False):
        if before != "--set" and re.match(r"[\w.]+=", word):
            return f". Did you mean --set {word}?"
    for option, key, value in zip(words, words[1:], words[2:], strict=False):
        if option == "--set" and value in extra:
            return f". Text with spaces stands in quotes: --set '{key} {value}'"
    return ""


def _setting_as_option(option: str) -> str:
    from tlkit.config.homes import homes
    from tlkit.registry import Registry

    key = option.lstrip("-").replace("-", "_")
    settings = " or ".join(f"--set {table}.{key}=..." for table in homes(key, Registry()))
    return f". Did you mean {settings}?" if settings else ""
