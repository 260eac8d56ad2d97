"""Commands that say why they may have got more words than they take."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


class Command(TyperCommand):
    """A command that says why it may have got more words than it takes."""

    too_many = ""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of a command line."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except Exception as err:  # typer's own class of errors, or that of the package click
            if "extra argument" in str(getattr(err, "message", "")):
                err.message += _setting_in_two_words(given) or self.too_many  # type: ignore[attr-defined]
            raise


class OneRunCommand(Command):
    """A command that takes one run; a pattern may have fitted several."""

    too_many = (
        ". This command takes one run. Does a pattern such as runs/*-digits fit several? Name one "
        "of them."
    )


def _setting_in_two_words(words: list[str]) -> str:
    for option, key, value in zip(words, words[1:], words[2:], strict=False):
        if option == "--set" and "=" not in key:
            return f". Did you mean --set {key}={value}?"
    return ""
