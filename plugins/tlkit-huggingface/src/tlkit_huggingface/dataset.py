"""The huggingface dataset: image classification data of the Hugging Face Hub, or in its formats."""

from __future__ import annotations

import contextlib
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from tlkit import (
    DataError,
    DatasetSource,
    ImageData,
    did_you_mean,
    expand_home,
    picture_data,
    printable,
)

TEST_NAMES = ("test",)
VALIDATION_NAMES = ("validation", "val", "valid", "dev")
LABEL_NAMES = ("label", "labels", "class", "target", "fine_label")
FILE_KINDS = {".parquet": "parquet", ".arrow": "arrow"}


class HuggingFace(DatasetSource):
    """Image data of the Hugging Face Hub, or a local folder or file in its formats."""

    name: ClassVar[str] = "huggingface"
    modules: ClassVar[tuple[str, ...]] = ("datasets",)
    install: ClassVar[str] = "tlkit-huggingface"

    def __init__(
        self,
        path: str,
        config: str | None = None,
        revision: str | None = None,
        train: str = "train",
        test: str | None = None,
        validation: str | None = None,
        image: str | None = None,
        label: str | None = None,
        test_fraction: float = 0.2,
        broken: Literal["error", "skip"] = "error",
    ) -> None:
        """Choose the data.

        Args:
            path: A dataset of the Hub, such as "uoft-cs/cifar10"; or a folder that was written by
                save_to_disk(), or that holds parquet files or folders of pictures; or a .parquet or
                .arrow file.
            config: The configuration of a dataset of the Hub that has several.
            revision: A branch, tag or commit of the Hub; by default the newest.
            train: The split to train on.
            test: The split to test on; by default "test" where there is one, else a share of the
                training images.
            validation: The split to validate on; by default "validation" where there is one.
            image: The column with the images; by default the only one.
            label: The column with the classes; by default the only one of that type, or one that is
                called label, labels, class, target or fine_label.
            test_fraction: Share of the training images in the test split where there is none, above
                0 and below 1.
            broken: "error" to end the run at pictures that cannot be read, or "skip" to leave them
                out, for which every picture is decoded once at the start.
        """
        self.path, self.config, self.revision = path, config, revision
        self.train, self.test, self.validation = train, test, validation
        self.image, self.label = image, label
        self.test_fraction = test_fraction
        self.broken: Literal["error", "skip"] = broken

    def load(self, seed: int) -> ImageData:
        """Find the rows; pictures are read and decoded when they are needed.

        Raises:
            DataError: If the dataset, a split or a column is missing or of the wrong kind, or
                pictures cannot be read.
        """
        import datasets

        splits = self._choose(self._load())
        image, label = self._columns(splits["train"])
        tables = {}
        for part, table in splits.items():
            if not {image, label} <= set(table.column_names):
                raise DataError(
                    f"{self.path}: the {part} split has no columns '{image}' and '{label}', which "
                    f"the training split has. Name another with [dataset] {part}."
                )
            tables[part] = _with_encoded_images(table, image, self.path)
        classes, numbers = _classes(tables, label, self.path)
        names, parts, labels = [], [], []
        for part, table in tables.items():
            names += [f"{part} {row}" for row in range(len(table))]
            parts += [part] * len(table)
            labels += numbers[part]
        notes = []
        if "test" not in tables:
            notes.append(
                f"{self.path} has no test split: {self.test_fraction:.0%} of '{self.train}' is it."
            )
        images = [table.select_columns([image]) for table in tables.values()]
        return picture_data(
            _Encoded(datasets.concatenate_datasets(images), image, self._roots()),
            names,
            labels,
            parts,
            classes,
            where=self.path,
            seed=seed,
            broken=self.broken,
            test_fraction=self.test_fraction,
            notes=notes,
        )

    def _load(self) -> Mapping[str, Any]:
        """Return the splits by name."""
        import datasets

        local = expand_home(self.path)
        try:
            if local.is_file():
                kind = FILE_KINDS.get(local.suffix.lower())
                if kind is None:
                    raise DataError(
                        f"[dataset] path: {local} is no .parquet and no .arrow file. A CSV file? "
                        f"Use [dataset] name = 'csv'."
                    )
                found = datasets.load_dataset(kind, data_files={self.train: str(local)})
            elif _was_saved_to_disk(local):
                found = datasets.load_from_disk(str(local))
            elif local.is_dir():
                found = datasets.load_dataset(str(local.absolute()), self.config)
            else:
                return self._load_from_hub()
        except DataError:
            raise
        except Exception as err:  # datasets raises many kinds of error
            raise DataError(
                f"[dataset] path: cannot read {local}: {type(err).__name__}: {_first_line(err)} "
                f"Allowed: a folder written by save_to_disk(), a folder with parquet files or with "
                f"folders of pictures, a .parquet or .arrow file, or a dataset of the Hub."
            ) from err
        return found if isinstance(found, Mapping) else {self.train: found}

    def _roots(self) -> list[str]:
        """Return the folders that a table's pictures may lie in: its own, and those of caches."""
        import datasets

        local = expand_home(self.path)
        own = [local if local.is_dir() else local.parent] if local.exists() else []
        caches = (datasets.config.HF_CACHE_HOME, datasets.config.HF_DATASETS_CACHE)
        return [os.path.realpath(item) for item in (*own, *caches)]

    def _load_from_hub(self) -> Mapping[str, Any]:
        import datasets

        offline = not _names_resolve()
        state = " There is no internet, and no copy in the cache." if offline else ""
        try:
            with _offline() if offline else contextlib.nullcontext():
                found = datasets.load_dataset(self.path, self.config, revision=self.revision)
        except Exception as err:
            raise DataError(
                f"Cannot load the dataset '{self.path}' of the Hugging Face Hub: "
                f"{type(err).__name__}: {_first_line(err)}{state}\n"
                f"There is no local file or folder of that name either. Without internet, set "
                f"[dataset] path to a copy: a folder written by save_to_disk(), or with the "
                f"dataset's parquet files."
            ) from err
        return dict(found)

    def _choose(self, splits: Mapping[str, Any]) -> dict[str, Any]:
        chosen = {
            "train": self.train,
            "validation": self.validation
            or next((name for name in VALIDATION_NAMES if name in splits), None),
            "test": self.test or next((name for name in TEST_NAMES if name in splits), None),
        }
        for part, name in chosen.items():
            if name is not None and name not in splits:
                raise DataError(
                    f"{self.path} has no split '{name}'.{did_you_mean(name, splits)} Its splits: "
                    f"{', '.join(splits)}. [dataset] {part} says which to use."
                )
            if name is not None and not len(splits[name]):
                raise DataError(f"The split '{name}' of {self.path} is empty.")
        return {part: splits[name] for part, name in chosen.items() if name is not None}

    def _columns(self, table: Any) -> tuple[str, str]:
        import datasets

        features = table.features
        images = [key for key, item in features.items() if isinstance(item, datasets.Image)]
        classes = [key for key, item in features.items() if isinstance(item, datasets.ClassLabel)]
        if len(classes) != 1:
            classes = [name for name in LABEL_NAMES if name in features][:1] or classes
        found = []
        for key, given, candidates in (
            ("image", self.image, images),
            ("label", self.label, classes),
        ):
            wanted = given if given is not None or len(candidates) != 1 else candidates[0]
            if wanted is None or wanted not in features:
                what = "cannot tell which" if wanted is None else f"there is no '{wanted}'"
                kinds = ", ".join(f"{name} ({_kind(item)})" for name, item in features.items())
                raise DataError(
                    f"{self.path}: the {key} column: {what}. [dataset] {key} says which to use. "
                    f"Columns: {kinds}."
                )
            found.append(wanted)
        return found[0], found[1]


class _Encoded(Sequence[Any]):
    """The encoded pictures of a table, or the paths of their files."""

    def __init__(self, table: Any, column: str, roots: Sequence[str]) -> None:
        self._table, self._column, self._roots = table, column, roots

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[row] for row in range(len(self))[index]]
        cell = self._table[index][self._column] or {}
        content, path = cell.get("bytes"), cell.get("path")
        if content is None and path:
            # A table from outside could name any file of this machine, which reports would show.
            real = Path(os.path.realpath(path))
            inside = any(real.is_relative_to(root) for root in self._roots)
            if not inside and real.exists():
                raise DataError(
                    f"Row {index} of the table names the picture {printable(str(path), 200)}, "
                    f"which lies outside of {self._roots[0]}. Put the pictures there, or into the "
                    f"table: save_to_disk() does so."
                )
            return Path(path)
        return bytes(content or b"")


def _with_encoded_images(table: Any, image: str, where: str) -> Any:
    """Return the table with the pictures as they are stored, not decoded."""
    import datasets

    try:
        return table.cast_column(image, datasets.Image(decode=False))
    except Exception as err:
        raise DataError(
            f"{where}: the column '{image}' is {_kind(table.features[image])} and holds no "
            f"pictures: {_first_line(err)}"
        ) from err


def _classes(
    tables: Mapping[str, Any], label: str, where: str
) -> tuple[list[str], dict[str, list[int]]]:
    """Return the class names, and the class numbers of each split."""
    import datasets

    values = {part: table[label][:] for part, table in tables.items()}
    for part, column in values.items():
        missing = sum(item is None or item == -1 for item in column)
        if missing:
            raise DataError(
                f"{where}: {missing:,} of {len(column):,} images of the {part} split have no label "
                f"in '{label}'. Name a split that has labels with [dataset] {part}."
            )
    kinds = [table.features[label] for table in tables.values()]
    if isinstance(kinds[0], datasets.ClassLabel):
        names = list(kinds[0].names)
        if any(getattr(kind, "names", None) != names for kind in kinds):
            raise DataError(f"{where}: the splits differ in the classes of '{label}'.")
        return names, values
    if not all(isinstance(item, str | int) for column in values.values() for item in column):
        raise DataError(
            f"{where}: the column '{label}' is {_kind(kinds[0])}; read are class labels, whole "
            f"numbers and text."
        )
    ordered = sorted(set(values["train"]), key=lambda item: (isinstance(item, str), item))
    number_of = {item: number for number, item in enumerate(ordered)}
    for part, column in values.items():
        strange = next((item for item in column if item not in number_of), None)
        if strange is not None:
            raise DataError(
                f"{where}: the {part} split has the class {strange!r}, which the training split "
                f"does not have."
            )
    numbers = {part: [number_of[item] for item in column] for part, column in values.items()}
    return [str(item) for item in ordered], numbers


def _was_saved_to_disk(folder: Path) -> bool:
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def _kind(feature: Any) -> str:
    return str(getattr(feature, "dtype", None) or type(feature).__name__)


def _names_resolve() -> bool:
    """Return whether the Hub's name is found; datasets would retry for half a minute if not."""
    from datasets import config

    if urllib.request.getproxies() or os.environ.get("HF_HUB_OFFLINE"):
        return True
    try:
        socket.getaddrinfo(urllib.parse.urlsplit(config.HF_ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Let datasets look into its cache only."""
    import datasets.config
    import huggingface_hub.constants

    modules: tuple[Any, ...] = (datasets.config, huggingface_hub.constants)
    before = [module.HF_HUB_OFFLINE for module in modules]
    for module in modules:
        module.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for module, value in zip(modules, before, strict=True):
            module.HF_HUB_OFFLINE = value


def _first_line(err: BaseException) -> str:
    line = next(iter(str(err).strip().splitlines()), type(err).__name__)
    return line if line.endswith((".", "!")) else f"{line}."
