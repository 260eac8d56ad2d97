"""Pages that lie elsewhere in the repository, and links that lead out of the documentation."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")
_PROJECT = {"SECURITY": "security-policy", "CONTRIBUTING": "contributing", "CHANGELOG": "changes"}


def included() -> dict[str, str]:
    """Return the pages that lie outside docs/: places in the repository and in the site."""
    found = {f"{name}.md": f"project/{page}.md" for name, page in _PROJECT.items()}
    found["examples/README.md"] = "examples/index.md"
    for readme in sorted(ROOT.glob("examples/*/README.md")):
        found[f"examples/{readme.parent.name}/README.md"] = f"examples/{readme.parent.name}.md"
    for readme in sorted(ROOT.glob("plugins/*/README.md")):
        found[f"plugins/{readme.parent.name}/README.md"] = f"plugins/{readme.parent.name}.md"
    return found


def with_files(markdown: str, source: str) -> str:
    """Return an example's page with its configs and programs below the text."""
    folder = (ROOT / source).parent
    parts = [markdown.rstrip()]
    for path in sorted([*folder.glob("*.toml"), *folder.glob("*.py")]):
        language = "toml" if path.suffix == ".toml" else "python"
        text = path.read_text(encoding="utf-8").rstrip()
        parts.append(f"## {path.name}\n\n```{language}\n{text}\n```")
    return "\n\n".join(parts) + "\n"


def with_links_of_the_site(markdown: str, source: str, page: str) -> str:
    """Return a page whose links lead to the site's pages.

    Args:
        markdown: The text.
        source: Its place in the repository.
        page: Its place in the site.

    Returns:
        The text; links to files that the site does not show are their path in the repository.
    """
    pages = included()

    def rewritten(match: re.Match[str]) -> str:
        text, link = match.groups()
        path, _, anchor = link.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return match[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if (ROOT / target).is_dir():
            target = f"{target}/README.md"
        if target.startswith("docs/"):
            goal = target.removeprefix("docs/")
        elif target in pages:
            goal = pages[target]
        elif target == "README.md":
            goal = "index.md"
        else:
            told = target.removesuffix("/README.md")
            named = text.strip("`") in (told, Path(told).name)
            return f"`{told}`" if named else f"{text} (`{told}`)"
        relative = posixpath.relpath(goal, posixpath.dirname(page) or ".")
        return f"[{text}]({relative}{'#' + anchor if anchor else ''})"

    return _LINK.sub(rewritten, markdown)
