import sys
from pathlib import Path

import pytest

# The folder holds tiny_networks.py, which pytest's import mode does not put on the path.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def no_internet(monkeypatch, tmp_path):
    """Point the caches of the hubs at an empty folder; a test that downloads would fail."""
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # Read once, when the library is imported, which another test may have done before.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
