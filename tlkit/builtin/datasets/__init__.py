"""The built-in datasets."""

from __future__ import annotations

from collections.abc import Callable

from tlkit import DatasetSource, hookimpl


@hookimpl
def register_datasets(register: Callable[[type[DatasetSource]], None]) -> None:
    """Register them."""
    from tlkit.builtin.datasets.arrays import Arrays
    from tlkit.builtin.datasets.cifar import CIFAR10, CIFAR100
    from tlkit.builtin.datasets.csv_table import CsvTable
    from tlkit.builtin.datasets.digits import Digits
    from tlkit.builtin.datasets.fashion_mnist import FashionMNIST
    from tlkit.builtin.datasets.folder import Folder

    for dataset in (CIFAR10, CIFAR100, FashionMNIST, Digits, Folder, CsvTable, Arrays):
        register(dataset)
