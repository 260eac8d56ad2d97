"""The tfds dataset: image classification data of TensorFlow Datasets."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from tlkit import (
    ConfigError,
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
HOST = "storage.googleapis.com"
# What a prepared dataset says of its features, the keys that name a class there, and whose classes
# are let in.
FEATURES = "features.json"
CLASS_KEYS = ("pythonClassName", "python_class_name", "type")
OWN = "tensorflow_datasets."


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what tfds warns its own developers of from the terminal."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


class TensorFlowDatasets(DatasetSource):
    """Image data of TensorFlow Datasets, by name or from a prepared folder."""

    name: ClassVar[str] = "tfds"
    modules: ClassVar[tuple[str, ...]] = ("tensorflow_datasets",)
    install: ClassVar[str] = "tlkit-tfds"

    def __init__(
        self,
        dataset: str | None = None,
        path: str | None = None,
        data_dir: str | None = None,
        download: bool = True,
        train: str = "train",
        test: str | None = None,
        validation: str | None = None,
        image: str | None = None,
        label: str | None = None,
        test_fraction: float = 0.2,
        broken: Literal["error", "skip"] = "error",
    ) -> None:
        """Choose the data; either ``dataset`` or ``path``.

        Args:
            dataset: A name, such as "cifar10", or name/config:version.
            path: A prepared folder: the one with dataset_info.json and the records.
            data_dir: Where prepared datasets are kept; by default ~/tensorflow_datasets.
            download: Whether a dataset that is not prepared there may be downloaded.
            train: The split expression to train on, such as "train" or "train[:20%]".
            test: The one to test on; by default "test" where there is one, else a share of the
                training images.
            validation: The one to validate on; by default "validation" where there is one.
            image: The name of the image feature; by default the only one.
            label: The name of the class feature; by default the only one.
            test_fraction: Share of the training images in the test split where there is none, above
                0 and below 1.
            broken: "error" to end the run at pictures that cannot be read, or "skip" to leave them
                out, for which every picture is decoded once at the start.

        Raises:
            ConfigError: If neither or both of ``dataset`` and ``path`` are given.
        """
        if (dataset is None) == (path is None):
            raise ConfigError(
                "[dataset] needs either dataset, the name of a dataset such as 'cifar10', or path, "
                "the folder of a prepared one."
            )
        self.dataset, self.path, self.data_dir, self.download = dataset, path, data_dir, download
        self.train, self.test, self.validation = train, test, validation
        self.image, self.label = image, label
        self.test_fraction = test_fraction
        self.broken: Literal["error", "skip"] = broken

    @_quiet()
    def load(self, seed: int) -> ImageData:
        """Read the encoded pictures into memory; they are decoded when they are needed.

        Raises:
            DataError: If the dataset, a split or a feature is missing or of the wrong kind, or
                pictures cannot be read.
        """
        import numpy as np

        builder = self._builder()
        image, label = self._features(builder)
        contents: list[bytes] = []
        labels: list[int] = []
        names: list[str] = []
        parts: list[str] = []
        notes = []
        for part, expression in self._splits(builder).items():
            before = len(labels)
            for content, number in _read(builder, expression, image, label):
                contents.append(content)
                labels.append(number)
            count = len(labels) - before
            names += [f"{expression} {row}" for row in range(count)]
            parts += [part] * count
        if "test" not in parts:
            notes.append(
                f"{builder.info.full_name} has no test split: {self.test_fraction:.0%} of "
                f"'{self.train}' is it."
            )
        unlabelled = np.array(labels) < 0
        if unlabelled.any():
            part = parts[int(unlabelled.argmax())]
            raise DataError(
                f"The {part} split of {builder.info.full_name} has images without a label. Name "
                f"another split with [dataset] {part}, such as {part} = 'train[80%:]'."
            )
        return picture_data(
            contents,
            names,
            labels,
            parts,
            builder.info.features[label].names,
            where=builder.info.full_name,
            seed=seed,
            broken=self.broken,
            test_fraction=self.test_fraction,
            notes=notes,
        )

    def _builder(self) -> Any:
        """Return the builder of a dataset that is prepared on disk."""
        import tensorflow_datasets as tfds

        if self.path is not None:
            folder = expand_home(self.path)
            _refuse_foreign_features(folder)
            try:
                return tfds.builder_from_directory(folder)
            except Exception as err:  # tfds raises many kinds of error
                raise DataError(
                    f"[dataset] path: {folder} is no prepared dataset: {_first_line(err)} Needed: "
                    f"the folder with dataset_info.json, such as "
                    f"~/tensorflow_datasets/mnist/3.0.1."
                ) from err
        data_dir = None if self.data_dir is None else expand_home(self.data_dir)
        place = Path(tfds.core.constants.DATA_DIR) if data_dir is None else data_dir
        for file in (place / re.split("[:/]", str(self.dataset))[0]).rglob(FEATURES):
            _refuse_foreign_features(file.parent)
        try:
            builder = tfds.builder(self.dataset, data_dir=data_dir)
        except Exception as err:
            near = did_you_mean(str(self.dataset), tfds.list_builders())
            raise DataError(
                f"[dataset] dataset = '{self.dataset}': {_first_line(err)}{near}"
            ) from err
        if builder.is_prepared():
            return builder
        if not self.download:
            raise DataError(
                f"{builder.info.full_name} is not prepared in {builder.data_path}. Set [dataset] "
                f"download = true, data_dir to the folder that has it, or path to a prepared "
                f"dataset."
            )
        self._prepare(builder)
        return builder

    def _prepare(self, builder: Any) -> None:
        advice = (
            f"Without internet, copy a prepared dataset from another machine and set [dataset] "
            f"data_dir to the folder that holds {builder.info.full_name}, or path to "
            f"{builder.info.full_name} itself."
        )
        if not _names_resolve():
            raise DataError(
                f"Cannot download the dataset {builder.info.full_name}: there is no internet "
                f"({HOST} is not found). {advice}"
            )
        try:
            builder.download_and_prepare()
        except Exception as err:
            raise DataError(
                f"Cannot prepare the dataset {builder.info.full_name}: {type(err).__name__}: "
                f"{_first_line(err)} {advice}"
            ) from err

    def _features(self, builder: Any) -> tuple[str, str]:
        import tensorflow_datasets as tfds

        features = builder.info.features
        found = {}
        for key, given, kind in (
            ("image", self.image, tfds.features.Image),
            ("label", self.label, tfds.features.ClassLabel),
        ):
            names = [name for name in features if isinstance(features[name], kind)]
            wanted = given
            if wanted is None:
                wanted = key if key in names else names[0] if len(names) == 1 else None
            if wanted is None or wanted not in names:
                what = "none is named" if wanted is None else f"'{wanted}' is none of them"
                raise DataError(
                    f"{builder.info.full_name} needs one {kind.__name__} feature as {key}: {what}. "
                    f"It has: {', '.join(names) or 'no such feature'}. [dataset] {key} says which."
                )
            found[key] = wanted
        if features[found["image"]].np_dtype != "uint8":
            raise DataError(
                f"The feature '{found['image']}' of {builder.info.full_name} is "
                f"{features[found['image']].np_dtype}; read are images of uint8."
            )
        return found["image"], found["label"]

    def _splits(self, builder: Any) -> dict[str, str]:
        available = list(builder.info.splits)
        chosen = {
            "train": self.train,
            "validation": self.validation
            or next((name for name in VALIDATION_NAMES if name in available), None),
            "test": self.test or next((name for name in TEST_NAMES if name in available), None),
        }
        for part, expression in chosen.items():
            if expression is None:
                continue
            try:
                count = builder.info.splits[expression].num_examples
            except Exception as err:
                raise DataError(
                    f"[dataset] {part} = '{expression}': {_first_line(err)} Splits of "
                    f"{builder.info.full_name}: {', '.join(available)}."
                ) from err
            if not count:
                raise DataError(f"The split '{expression}' of {builder.info.full_name} is empty.")
        return {part: expression for part, expression in chosen.items() if expression is not None}


def _read(builder: Any, expression: str, image: str, label: str) -> Iterator[tuple[bytes, int]]:
    """Yield the encoded picture and the class number of each example, in the order on disk."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    skip = {image: tfds.decode.SkipDecoding()}
    try:
        if builder.info.file_format is tfds.core.FileFormat.TFRECORD:
            needed = {image: features[image], label: features[label]}
            # One file after the other, so that the order is always the same.
            reading = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
            examples = tfds.as_numpy(
                builder.as_dataset(
                    split=expression,
                    decoders=tfds.decode.PartialDecoding(needed, decoders=skip),
                    read_config=reading,
                )
            )
        else:
            examples = builder.as_data_source(split=expression, decoders=skip)
        for example in examples:
            yield bytes(example[image]), int(example[label])
    except Exception as err:
        raise DataError(
            f"Cannot read the split '{expression}' of {builder.info.full_name} in "
            f"{builder.data_path}: {type(err).__name__}: {_first_line(err)}"
        ) from err


def _names_resolve() -> bool:
    """Return whether host names are found; tfds would retry for minutes where they are not."""
    if urllib.request.getproxies():
        return True
    try:
        socket.getaddrinfo(HOST, 443)
    except OSError:
        return False
    return True


def _first_line(err: BaseException) -> str:
    line = next(iter(str(err).strip().splitlines()), type(err).__name__)
    return line if line.endswith((".", "!")) else f"{line}."


def _refuse_foreign_features(folder: Path) -> None:
    """Refuse a prepared dataset that names classes of other packages.

    TensorFlow Datasets imports whatever module a feature's class is said to be in.

    Raises:
        DataError: If it does, with the name.
    """
    file = folder / FEATURES
    if not file.is_file():
        return
    try:
        waiting = [json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, RecursionError) as err:
        raise DataError(f"[dataset] path: cannot read {file}: {err}") from err
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
            continue
        if not isinstance(value, dict):
            continue
        for key, item in value.items():
            named = key in CLASS_KEYS and isinstance(item, str) and "." in item
            if named and not item.startswith(OWN):
                raise DataError(
                    f"{file} is refused: it names {printable(item, 100)}; allowed are features of "
                    f"TensorFlow Datasets itself ({OWN}*)."
                )
            if key == "json" and isinstance(item, str):
                with contextlib.suppress(ValueError, RecursionError):
                    waiting.append(json.loads(item))
            waiting.append(item)
