"""The page of the commands, written by Typer from the command line itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys

_INTRODUCTION = """# Commands

Every command, argument and option, as `tlkit COMMAND --help` tells them. What a command prints with
`--json` is on [its own page](json.md); [exit codes](config.md#exit-codes) are the same for all.
"""


def page() -> str:
    """Return the page as Markdown."""
    done = subprocess.run(
        [sys.executable, "-m", "typer", "tlkit.cli", "utils", "docs", "--name", "tlkit"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "NO_COLOR": "1", "TERM": "dumb"},
    )
    _, _, sections = done.stdout.partition("\n## ")
    sections = re.sub(r"^\* `--help`.*\n", "", f"## {sections}", flags=re.MULTILINE)
    return _INTRODUCTION + "\n" + sections
