from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import html5lib
import numpy as np
import pytest

from tests.builtin.reporters.conftest import NASTY, make_result
from tlkit import RunResult, run_folder, thumbnails

HOSTILE = (
    *NASTY,
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "مرحبا",
    "{{ 7*7 }}",
)
XHTML = "{http://www.w3.org/1999/xhtml}"


def make_pictures(count: int, height: int = 12, width: int = 16) -> np.ndarray:
    """Pictures whose first pixel is the image's number, so that each can be told."""
    pictures = np.full((count, height, width, 3), 90, np.uint8)
    pictures[:, 0, 0, 0] = np.arange(count) // 256
    pictures[:, 0, 0, 1] = np.arange(count) % 256
    return pictures


def save_run(folder: Path, images: Any = None, names: tuple[str, ...] = (), **settings: Any):
    """Write the folder of a finished run, as the Trainer does, and return its result."""
    folder.mkdir(parents=True, exist_ok=True)
    result = make_result(folder=folder, **settings)
    run_folder.write_config(folder, result.info.config)
    np.savez(
        folder / run_folder.PREDICTIONS,
        labels=result.test.labels,
        probabilities=result.test.probabilities,
    )
    if images is not None:
        thumbnails.save(folder, result.test, images, names)
    run_folder.finish(folder, result)
    return result


@pytest.fixture
def saved_run(tmp_path: Path) -> Callable[..., RunResult]:
    def save(name: str = "20261124-125124-cifar10", **settings: Any) -> RunResult:
        settings.setdefault("images", make_pictures(settings.get("count", 500)))
        return save_run(tmp_path / "runs" / name, **settings)

    return save


class Page:
    """A page as a browser's parser sees it."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_text(encoding="utf-8")
        self.size = path.stat().st_size
        parser = html5lib.HTMLParser(strict=False)
        self.tree = parser.parse(self.text)
        self.errors = parser.errors

    def all(self, tag: str) -> list[Any]:
        return list(self.tree.iter(XHTML + tag))

    def words(self) -> str:
        body = self.tree.find(XHTML + "body")
        texts = []
        for item in body.iter():
            if item.tag not in (XHTML + "script", XHTML + "style"):
                texts.append(item.text or "")
            texts.append(item.tail or "")
        return " ".join(" ".join(texts).split())

    @property
    def data(self) -> dict[str, Any]:
        (element,) = [item for item in self.all("script") if item.get("id") == "data"]
        return json.loads(element.text)


@pytest.fixture
def read_page() -> type[Page]:
    return Page
