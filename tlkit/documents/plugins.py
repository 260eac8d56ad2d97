"""``tlkit plugins``, ``check`` and ``new-plugin``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tlkit.documents.base import AbsolutePath, Document, Number, Part


class PluginEntry(Part):
    """One plugin."""

    kind: str = Field(description="backbone, head, reporter, dataset, workflow or engine.")
    name: str
    distribution: str = Field(description="The package, or the path of the file, it comes from.")
    version: str
    summary: str


class BrokenPlugin(Part):
    """An entry point, or a file of TLKIT_PLUGIN_FOLDER, that could not be used."""

    entry_point: str = Field(description="Empty of a file.")
    distribution: str = Field(description="The package, or the path of the file.")
    version: str
    reason: str


class Plugins(Document):
    """``tlkit plugins``: what can be named in a config."""

    schema_: Literal["tlkit.plugins/1"] = Field(default="tlkit.plugins/1", alias="schema")
    plugins: list[PluginEntry]
    broken: list[BrokenPlugin]
    left_out: list[str] = Field(description="Distributions that TLKIT_PLUGINS does not name.")
    warnings: list[str]


class CheckOutcome(Part):
    """What one check found."""

    check: str
    rule: str = Field(description="What it asks for.")
    status: Literal["passed", "failed", "skipped"] = Field(
        description="skipped where a check that it needs did not pass."
    )
    reason: str = Field(description="Why it failed or was skipped; empty if it passed.")
    seconds: Number


class CheckedPlugin(Part):
    """A plugin, and what the conformance suite found."""

    kind: str
    name: str
    origin: str = Field(description="The distribution with its version, or the file.")
    outcomes: list[CheckOutcome]


class Checks(Document):
    """``tlkit check``: whether plugins do what tlkit asks of them; failed if one does not."""

    schema_: Literal["tlkit.check/1"] = Field(default="tlkit.check/1", alias="schema")
    plugins: list[CheckedPlugin]


class NewPlugin(Document):
    """``tlkit new-plugin``: the distribution that was written."""

    schema_: Literal["tlkit.new-plugin/1"] = Field(default="tlkit.new-plugin/1", alias="schema")
    folder: AbsolutePath
    kind: str
    name: str = Field(description="What a config calls the plugin.")
    distribution: str
    files: list[str] = Field(description="Their paths within the folder.")
    commands: list[str] = Field(description="What to do next.")
