"""CIFAR-10 and CIFAR-100, from a folder, an archive, an .npz file, or Keras' download."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from tlkit import (
    DataError,
    DatasetSource,
    ImageData,
    Split,
    UnsafeFileError,
    check_member,
    fetched,
)
from tlkit.builtin.datasets.arrays import read_npz
from tlkit.builtin.datasets.cifar_pickle import MAX_BYTES, load
from tlkit.builtin.datasets.download import download, keras_datasets_folder

Reader = Callable[[str], bytes]


class CIFAR10(DatasetSource):
    """CIFAR-10: 60,000 pictures of 32 x 32 pixels in 10 classes (Krizhevsky, 2009)."""

    name: ClassVar[str] = "cifar10"
    folder: ClassVar[str] = "cifar-10-batches-py"
    url: ClassVar[str] = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    sha256: ClassVar[str] = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
    train_files: ClassVar[tuple[str, ...]] = tuple(f"data_batch_{n}" for n in range(1, 6))
    test_files: ClassVar[tuple[str, ...]] = ("test_batch",)
    meta_file: ClassVar[str] = "batches.meta"
    label_key: ClassVar[bytes] = b"labels"
    names_key: ClassVar[bytes] = b"label_names"
    class_names: ClassVar[tuple[str, ...] | None] = (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
    )  # fmt: skip

    def __init__(self, path: str | None = None) -> None:
        """Choose where to read.

        Args:
            path: The folder of pickled batches or one that contains it, the published .tar.gz, or
                an .npz with x_train, y_train, x_test, y_test. By default Keras' cache, and a
                download into it.
        """
        self.path = path

    def load(self, seed: int) -> ImageData:
        """Read the batches; nothing in them is executed."""
        path = self._find()
        if path.suffix == ".npz":
            return read_npz(path, self.class_names)
        if path.is_dir():
            return self._load(lambda name: _read_file(path / name), str(path))
        if path.name.endswith((".tar.gz", ".tgz", ".tar")):
            try:
                with tarfile.open(path) as archive:
                    members = _members(archive, str(path))
                    return self._load(
                        lambda name: self._read_member(archive, members, name), str(path)
                    )
            except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError) as err:
                raise DataError(f"Cannot read the archive {path}: {err}") from err
        raise DataError(f"[dataset] path = '{path}' is not allowed: {self._layout()}.")

    def _find(self) -> Path:
        if self.path is not None:
            given = fetched(self.path)
            if not given.exists():
                raise DataError(
                    f"[dataset] path: there is no {given.resolve()}. Allowed: {self._layout()}."
                )
            nested = given / self.folder
            return nested if nested.is_dir() else given
        cache = keras_datasets_folder()
        archive_name = self.url.rsplit("/", 1)[-1]
        for candidate in (
            cache / self.folder,
            cache / f"{self.folder}-target" / self.folder,
            cache / archive_name,
        ):
            if candidate.exists():
                return candidate
        return download(self.url, self.sha256, self.name, self._layout())

    def _layout(self) -> str:
        return f"a {self.folder} folder, the {self.url.rsplit('/', 1)[-1]}, or an .npz file"

    def _read_member(
        self, archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str
    ) -> bytes:
        member = members.get(f"{self.folder}/{name}")
        if member is None:
            raise DataError(f"{archive.name!s} has no {self.folder}/{name}.")
        # A link could lead to a member of any size.
        fits = member.isreg() and member.size <= MAX_BYTES
        stream = archive.extractfile(member) if fits else None
        if stream is None:
            raise DataError(f"{archive.name!s}: {member.name} is no file of a fitting size.")
        return stream.read()

    def _load(self, read: Reader, where: str) -> ImageData:
        meta = load(read(self.meta_file), f"{where}/{self.meta_file}")
        names = meta.get(self.names_key, self.class_names)
        if not isinstance(names, list | tuple) or len(names) < 2:
            raise DataError(f"{where}/{self.meta_file} has no class names.")
        class_names = tuple(
            name.decode(errors="replace") if isinstance(name, bytes) else str(name)
            for name in names
        )
        splits = [
            self._read_split(read, files, where) for files in (self.train_files, self.test_files)
        ]
        return ImageData(splits[0], splits[1], class_names)

    def _read_split(self, read: Reader, files: tuple[str, ...], where: str) -> Split:
        import numpy as np

        images, labels = [], []
        for name in files:
            batch = load(read(name), f"{where}/{name}")
            try:
                pixels = np.asarray(batch[b"data"])
                if pixels.dtype != np.uint8:
                    raise ValueError(f"pixels are {pixels.dtype}")
                images.append(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
                labels.append(np.asarray(batch[self.label_key], dtype=np.int64).reshape(-1))
            except (KeyError, ValueError, TypeError, OverflowError) as err:
                raise DataError(f"{where}/{name} is no batch of {self.name}: {err}") from err
        return Split(np.ascontiguousarray(np.concatenate(images)), np.concatenate(labels))


def _members(archive: tarfile.TarFile, where: str) -> dict[str, tarfile.TarInfo]:
    """Return the members of an archive by name; none is unpacked to disk.

    Raises:
        DataError: If one of them leads out of the archive, or there is more in it than allowed.
    """
    found: dict[str, tarfile.TarInfo] = {}
    for member in archive:
        try:
            check_member(member.name, member.offset_data + member.size)
        except UnsafeFileError as err:
            raise DataError(f"{where} is refused: {err}.") from err
        found[member.name] = member
    return found


class CIFAR100(CIFAR10):
    """CIFAR-100: 60,000 pictures of 32 x 32 pixels in 100 classes (Krizhevsky, 2009)."""

    name: ClassVar[str] = "cifar100"
    folder: ClassVar[str] = "cifar-100-python"
    url: ClassVar[str] = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    sha256: ClassVar[str] = "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"
    train_files: ClassVar[tuple[str, ...]] = ("train",)
    test_files: ClassVar[tuple[str, ...]] = ("test",)
    meta_file: ClassVar[str] = "meta"
    label_key: ClassVar[bytes] = b"fine_labels"
    names_key: ClassVar[bytes] = b"fine_label_names"
    class_names: ClassVar[tuple[str, ...] | None] = None


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise DataError(f"Cannot read {path}: {err.strerror}.") from err
