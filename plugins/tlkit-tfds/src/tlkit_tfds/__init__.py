"""Image datasets of TensorFlow Datasets for tlkit."""

from __future__ import annotations

from collections.abc import Callable

from tlkit import DatasetSource, hookimpl


@hookimpl
def register_datasets(register: Callable[[type[DatasetSource]], None]) -> None:
    """Register tfds."""
    from tlkit_tfds.dataset import TensorFlowDatasets

    register(TensorFlowDatasets)
