"""The table of checks in ``docs/how-to/plugins.md``.

    python -m tests.checks_reference

writes it anew, after a check was added or says something else.
"""

from __future__ import annotations

from pathlib import Path

from tlkit.registry import KINDS
from tlkit.testing.suite import all_checks

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "plugins.md"
BEGIN = "<!-- Made from the checks by python -m tests.checks_reference. -->\n"
END = "## When a plugin misbehaves"


def main() -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest[rest.index(END) :]
    PAGE.write_text(before + BEGIN + table() + after, encoding="utf-8")


def table() -> str:
    rows = [
        f"| {'all' if len(item.kinds) == len(KINDS) else ', '.join(item.kinds)} | `{item.name}` "
        f"| {item.rule} |"
        for item in all_checks()
    ]
    return "\n".join(["", "| kind | check | what it asks for |", "|---|---|---|", *rows, "", ""])


if __name__ == "__main__":
    main()
