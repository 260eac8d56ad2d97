from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.fuzz.harness import Search, search


@pytest.fixture
def fuzz(tmp_path, monkeypatch, capsys) -> Callable[..., Search]:
    """Feeds inputs to a reader in an empty folder, and says what came of them."""
    monkeypatch.chdir(tmp_path)
    # Large pictures take their time within the limit; test_limits has the limit itself.
    monkeypatch.setenv("TLKIT_MAX_PIXELS", "2000000")

    def run(name: str, inputs: Any, read: Callable[[Any], Any]) -> Search:
        found = search(name, inputs, read)
        with capsys.disabled():
            print(f"\n{found}")
        assert found.inputs
        return found

    return run
