"""The list of modules in the architecture page: each once, none that is gone."""

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tlkit"


def test_the_list_names_each_module_once():
    page = (ROOT / "docs/project/architecture.md").read_text(encoding="utf-8")
    table = page.split("## Modules")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = Counter(re.findall(r"`(\w+(?:\.py|/))`", " ".join(cells)))
    there = {path.name for path in PACKAGE.glob("*.py") if not path.name.startswith("__")}
    there |= {f"{path.name}/" for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert sorted(there - set(named)) == []
    assert sorted(set(named) - there - {"recipes/"}) == []
    assert [name for name, count in named.items() if count > 1] == []


def test_every_file_opens_with_one_line_that_says_what_it_is_for():
    for file in PACKAGE.rglob("*.py"):
        text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        assert text.partition("\n")[0].endswith("."), file
