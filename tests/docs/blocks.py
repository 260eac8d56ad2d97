"""The code blocks of the documentation, by page and language."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "plugins").glob("*/README.md")),
]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: str
    line: int
    language: str
    text: str


def blocks(*languages: str) -> list[Block]:
    """Return the blocks of some languages, or all."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _BLOCK.finditer(text):
            if not languages or match[1] in languages:
                line = text[: match.start()].count("\n") + 1
                found.append(Block(str(page.relative_to(ROOT)), line, match[1], match[2]))
    return found


def commands(block: Block) -> list[list[str]]:
    """Return the commands of a block of shell, up to a pipe or a redirection."""
    joined = block.text.replace("\\\n", " ")
    found = []
    for line in joined.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&>;")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        try:
            words = list(lexer)
        except ValueError:  # a quotation over several lines, such as the JSON of a curl
            continue
        ends = [index for index, word in enumerate(words) if set(word) & set("|&>;")]
        starts = [0, *(index + 1 for index in ends if words[index] == "&&")]
        for start in starts:
            end = next((index for index in ends if index >= start), len(words))
            if words[start:end]:
                found.append(words[start:end])
    return found
