"""MkDocs hook: the reference pages that are made from the code when the site is built."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import api
import commands
import config_keys
import error_messages
import hooks
import repository

from tlkit.config_schema import config_schema
from tlkit.registry import Registry

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

PAGES = {
    "reference/python.md": api.page,
    "reference/commands.md": commands.page,
    "reference/config-keys.md": config_keys.page,
    "reference/errors.md": error_messages.page,
    "reference/hooks.md": hooks.page,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, those of the rest of the repository, and the JSON Schema of a config."""
    from mkdocs.structure.files import File

    for path, page in PAGES.items():
        files.append(File.generated(config, path, content=page()))
    for source, path in repository.included().items():
        text = (repository.ROOT / source).read_text(encoding="utf-8")
        content = repository.with_links_of_the_site(text, source, path)
        if source.startswith("examples/"):
            content = repository.with_files(content, source)
        files.append(File.generated(config, path, content=content))
    schema = json.dumps(config_schema(Registry(entry_points=False)), indent=1)
    files.append(File.generated(config, "reference/config.schema.json", content=schema))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Lead links out of docs/ to the site's pages."""
    path = page.file.src_uri
    if page.file.generated_by is not None:
        return markdown
    return repository.with_links_of_the_site(markdown, f"docs/{path}", path)
