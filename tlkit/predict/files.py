"""Files of answers: CSV, JSON, JSON Lines and Parquet, written as the answers come."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tlkit.atomic import atomic_path
from tlkit.errors import ConfigError
from tlkit.text import safe_cell

if TYPE_CHECKING:
    from tlkit.documents.predict import Predictions
    from tlkit.predictor import Prediction

# Rows of a Parquet file that are held until they are written.
ROW_GROUP = 8192


class AnswerFile(ABC):
    """A file that answers are written to, one by one.

    Attributes:
        count: How many were written.
    """

    def __init__(self, path: Path, top: int) -> None:
        """Open it.

        Args:
            path: The file.
            top: The number of classes for each picture.
        """
        self.count, self._top = 0, top
        self._open(path)

    def write(self, item: Prediction) -> None:
        """Write an answer."""
        self._write(item)
        self.count += 1

    @abstractmethod
    def _open(self, path: Path) -> None: ...

    @abstractmethod
    def _write(self, item: Prediction) -> None: ...

    @abstractmethod
    def close(self, summary: Predictions | None) -> None:
        """Write the end, and close the file; nothing follows.

        Args:
            summary: All but the answers; None where the answers broke off.
        """

    def _row(self, item: Prediction) -> dict[str, Any]:
        """Return an answer with a column for each class and confidence; None for what is not."""
        row: dict[str, Any] = {"path": item.path}
        for number in range(self._top):
            name = "" if number == 0 else f"_{number + 1}"
            row[f"class{name}"] = _nth(item.classes, number)
            row[f"confidence{name}"] = _nth(item.confidences, number)
        names = ("abstained", "distance", "unfamiliar", "error")
        return row | {name: getattr(item, name) for name in names}


def _nth(items: Sequence[Any], number: int) -> Any:
    return items[number] if number < len(items) else None


class _Csv(AnswerFile):
    def _open(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer: Any = None

    def _write(self, item: Prediction) -> None:
        row = self._row(item)
        if self._writer is None:
            self._writer = csv.writer(self._file)
            self._writer.writerow(row)
        self._writer.writerow(map(_cell, row.values()))

    def close(self, summary: Predictions | None) -> None:
        self._file.close()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6f}" if isinstance(value, float) else safe_cell(str(value))


class _JsonLines(AnswerFile):
    def _open(self, path: Path) -> None:
        self._file: IO[str] = path.open("w", encoding="ascii", newline="\n")

    def _write(self, item: Prediction) -> None:
        self._file.write(f"{_json(item)}\n")

    def close(self, summary: Predictions | None) -> None:
        self._file.close()


def _json(item: Prediction) -> str:
    from tlkit.documents.predict import PredictedPicture

    return json.dumps(PredictedPicture.model_validate(item).model_dump(mode="json"))


class _Json(AnswerFile):
    """The document of ``--json``, with the answers before the other fields."""

    def _open(self, path: Path) -> None:
        self._file: IO[str] = path.open("w", encoding="ascii", newline="\n")
        self._file.write('{\n  "predictions": [')

    def _write(self, item: Prediction) -> None:
        self._file.write(f"{',' if self.count else ''}\n    {_json(item)}")

    def close(self, summary: Predictions | None) -> None:
        self._file.write("\n  ]")
        rest = {} if summary is None else summary.model_dump(mode="json", by_alias=True)
        for key, value in rest.items():
            if key != "predictions":
                self._file.write(f",\n  {json.dumps(key)}: {json.dumps(value)}")
        self._file.write("\n}\n")
        self._file.close()


class _Parquet(AnswerFile):
    def _open(self, path: Path) -> None:
        import pyarrow
        from pyarrow import parquet

        from tlkit.predictor import Prediction

        numbers = dict.fromkeys(("confidence", "distance"), pyarrow.float32())
        known = numbers | dict.fromkeys(("abstained", "unfamiliar"), pyarrow.bool_())
        types = {
            name: known.get(name.partition("_")[0], pyarrow.string())
            for name in self._row(Prediction(""))
        }
        self._schema = pyarrow.schema(types)
        self._writer = parquet.ParquetWriter(path, self._schema)
        self._rows: list[dict[str, Any]] = []

    def _write(self, item: Prediction) -> None:
        self._rows.append({name: _text(value) for name, value in self._row(item).items()})
        if len(self._rows) == ROW_GROUP:
            self._flush()

    def close(self, summary: Predictions | None) -> None:
        if self._rows:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow

        self._writer.write_table(pyarrow.Table.from_pylist(self._rows, self._schema))
        self._rows = []


def _text(value: Any) -> Any:
    # Names of files need not be UTF-8, and the strings of Parquet must be.
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value


_KINDS: dict[str, type[AnswerFile]] = {
    ".csv": _Csv,
    ".json": _Json,
    ".jsonl": _JsonLines,
    ".parquet": _Parquet,
}


def check_answer_path(path: Path) -> None:
    """Check, before anything is computed, that answers can be written to a path.

    Raises:
        ConfigError: If its suffix is none of those that are written, its folder is not there, it is
            a folder itself, or a package is missing.
    """
    if path.suffix.lower() not in _KINDS:
        raise ConfigError(
            f"Cannot write answers to {path}: its suffix is '{path.suffix}'. Allowed: "
            f"{', '.join(_KINDS)}."
        )
    if not path.parent.is_dir():
        raise ConfigError(f"Cannot write {path}: there is no folder {path.parent}. Make it first.")
    if path.is_dir():
        raise ConfigError(f"Cannot write {path}: it is a folder. Give the name of a file.")
    if path.suffix.lower() == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as err:
            raise ConfigError(
                f"Cannot write {path}: Parquet needs pyarrow, which cannot be imported ({err}). "
                f"pip install 'tlkit[parquet]', or write .csv, .json or .jsonl."
            ) from err


def unfinished_path(path: Path) -> Path:
    """Return where the answers so far are kept after an interrupt."""
    return path.with_name(f"{path.stem}-unfinished{path.suffix}")


@contextmanager
def answer_file(path: Path, top: int) -> Iterator[AnswerFile]:
    """Yield a file to write answers to; it takes its name when the block ends, whole.

    After Ctrl-C the answers so far are kept in ``unfinished_path()``; after any other error nothing
    is. The block calls ``close()`` when all are written.

    Args:
        path: The file to make or replace, with a suffix that ``check_answer_path()`` allows.
        top: The number of classes for each picture.

    Raises:
        ConfigError: If it cannot be written.
    """
    try:
        with atomic_path(path) as temporary:
            file = _KINDS[path.suffix.lower()](temporary, top)
            try:
                yield file
            except KeyboardInterrupt:
                if file.count:
                    file.close(None)
                    temporary.replace(unfinished_path(path))
                raise
    except OSError as err:
        raise ConfigError(
            f"Cannot write {path}: {err.strerror or err}. Choose another place with --out."
        ) from err
