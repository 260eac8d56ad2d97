"""``tlkit card``: a model card or a lab report of a finished run, as Markdown."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Literal, cast

from tlkit.atomic import atomic_write_text
from tlkit.card.facts import Facts
from tlkit.card.lab_report import lab_report
from tlkit.card.model_card import model_card
from tlkit.card.parts import PLOTS
from tlkit.errors import RunFolderError, UnknownPluginError
from tlkit.mirror import fetched, put_back
from tlkit.records import RunResult
from tlkit.registry import Registry
from tlkit.reporter import Reporter
from tlkit.run_folder import load_run
from tlkit.store_urls import local_place

Kind = Literal["model-card", "lab-report"]
FILES: dict[Kind, str] = {"model-card": "README.md", "lab-report": "lab_report.md"}
_WRITERS = {"model-card": model_card, "lab-report": lab_report}
_MARK = re.compile(r"\n<!-- Written by tlkit; sha256 of what stands above: ([0-9a-f]{64}) -->")

__all__ = ["FILES", "Kind", "write_card"]


def write_card(
    folder: Path | str,
    kind: Kind = "model-card",
    out: Path | str | None = None,
    *,
    registry: Registry | None = None,
) -> Path:
    """Write a card of a finished run and return its path.

    A card ends with a digest of its text. A file that has none, or another one, was written or
    edited by a person and is left alone. Where the run folder has no pictures they are drawn.

    Args:
        folder: The run folder.
        kind: ``"model-card"``, with the metadata of the Hugging Face Hub, or ``"lab-report"``.
        out: The file; by default ``README.md`` or ``lab_report.md`` in the run folder. Links to
            pictures are relative to it.
        registry: Where the run's plugins are looked up.

    Raises:
        RunFolderError: If the folder is not that of a finished run, or the file cannot be written
            or is not tlkit's own.
    """
    result = load_run(folder)
    folder = local_place(folder)
    registry = registry if registry is not None else Registry()
    path = folder / FILES[kind] if out is None else fetched(out)
    _check(path)
    # Every run has this one.
    if not (folder / PLOTS / "confusion_matrix.png").is_file():
        _draw(folder, registry)
    text = card_text(result, kind, path.parent, registry)
    try:
        atomic_write_text(path, _marked(text))
    except OSError as err:
        raise RunFolderError(f"Cannot write {path}: {err.strerror or err}.") from err
    put_back(path, folder / PLOTS)
    return path


def card_text(result: RunResult, kind: Kind, beside: Path, registry: Registry) -> str:
    """Return the text of a card.

    Args:
        result: A finished run.
        kind: As for ``write_card()``.
        beside: The folder that links to pictures start from.
        registry: Where the run's plugins are looked up.

    Raises:
        RunFolderError: If the run's config holds options of other types than its plugins take.
    """
    try:
        return _WRITERS[kind](Facts(result, registry), beside)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as err:
        raise RunFolderError(
            f"The config of the run in {result.folder} is damaged: {type(err).__name__}: {err}"
        ) from err


def _marked(text: str) -> str:
    # As it will be written: lone surrogates are escaped then.
    digest = hashlib.sha256(text.encode("utf-8", errors="backslashreplace")).hexdigest()
    return f"{text}\n<!-- Written by tlkit; sha256 of what stands above: {digest} -->\n"


def _check(path: Path) -> None:
    """Refuse to replace what a person wrote."""
    if path.is_dir():
        raise RunFolderError(f"Cannot write {path}: it is a folder. Name a file, such as card.md.")
    if not path.exists():
        return
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except OSError as err:
        raise RunFolderError(f"Cannot read {path}: {err.strerror or err}.") from err
    found = _MARK.search(text)
    if found is None or _marked(text[: found.start()]) != text:
        state = (
            "does not bear tlkit's mark (a person wrote it, or took the mark out)"
            if found is None
            else "was edited after tlkit wrote it"
        )
        raise RunFolderError(
            f"{path} {state}, and is left as it is. Write to another file with --out FILE, or move "
            f"it away."
        )


def _draw(folder: Path, registry: Registry) -> None:
    try:
        plots = cast(Reporter, registry.create("reporter", "plots", "the card"))
    except UnknownPluginError:
        return
    try:
        plots.on_run_end(load_run(folder))
    except OSError as err:
        raise RunFolderError(
            f"Cannot draw the pictures into {folder / PLOTS}: {err.strerror or err}."
        ) from err
