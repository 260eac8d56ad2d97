"""Image datasets of the Hugging Face Hub for tlkit."""

from __future__ import annotations

from collections.abc import Callable

from tlkit import DatasetSource, hookimpl


@hookimpl
def register_datasets(register: Callable[[type[DatasetSource]], None]) -> None:
    """Register huggingface."""
    from tlkit_huggingface.dataset import HuggingFace

    register(HuggingFace)
