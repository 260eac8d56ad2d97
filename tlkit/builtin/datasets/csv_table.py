"""The csv dataset: a table with the path and the label of each picture."""

from __future__ import annotations

import csv
import functools
import io
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Literal

from tlkit import (
    SKIP_HINT,
    DataError,
    DatasetSource,
    ImageData,
    PictureNote,
    StoredPath,
    did_you_mean,
    is_url,
    open_place,
    picture_data,
    printable,
)

DELIMITERS = (",", ";", "\t")
SPLIT_COLUMN = "split"
PARTS = {
    "train": "train", "training": "train",
    "validation": "validation", "val": "validation", "valid": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
MAX_NAMED = 10

Row = tuple[int, dict[str, str]]


class CsvTable(DatasetSource):
    """Your own pictures, listed with their labels in a CSV file."""

    name: ClassVar[str] = "csv"

    def __init__(
        self,
        path: str,
        image_column: str = "path",
        label_column: str = "label",
        split_column: str | None = None,
        root: str | None = None,
        test_fraction: float = 0.2,
        broken: Literal["error", "skip"] = "error",
        follow_links: bool = False,
    ) -> None:
        """Choose the file and its columns.

        Args:
            path: A CSV file in UTF-8, or its URL, whose first line names the columns; separated by
                commas, semicolons or tabs.
            image_column: The column with the paths of the pictures.
            label_column: The column with the class names, or class numbers.
            split_column: The column that says train, validation or test; by default "split" where
                there is one.
            root: The folder that paths start from, or its URL; by default that of the CSV file.
            test_fraction: Share of the pictures in the test split where no row is in it, above 0
                and below 1.
            broken: "error" to end the run at pictures that are missing or cannot be read, or
                "skip" to leave them out, for which every picture is decoded once at the start.
            follow_links: Whether symbolic links may lead out of that folder.
        """
        self.path = path
        self.image_column, self.label_column = image_column, label_column
        self.split_column = split_column
        self.root, self.follow_links = root, follow_links
        self.test_fraction = test_fraction
        self.broken: Literal["error", "skip"] = broken

    def load(self, seed: int) -> ImageData:
        """Read the table and look at the pictures' headers; they are read when they are needed.

        Raises:
            DataError: If the file, a column, a label or a picture is missing or wrong; with the
                lines it stands in.
        """
        file = open_place(self.path)
        columns, rows = _read(file, (self.image_column, self.label_column))
        part_column = self._part_column(file, columns)
        root = self._root(file)
        if not root.is_dir():
            raise DataError(f"[dataset] root: there is no folder {root.resolve()}.")
        self._refuse_wrong_cells(file, rows, part_column)

        class_names = sort_labels({row[self.label_column] for _, row in rows})
        if len(class_names) < 2:
            raise DataError(
                f"{file}: the column '{self.label_column}' has {len(class_names)} labels; at least "
                f"2 are needed."
            )
        locate = _locator(root, self.follow_links)
        located = [(line, row, locate(row[self.image_column])) for line, row in rows]
        outside = [(line, row[self.image_column]) for line, row, path in located if path is None]
        if outside:
            hint = (
                "Set [dataset] root to the folder that holds all pictures; if these are links and "
                "you know where they lead, set follow_links = true."
            )
            raise DataError(_listing(file, f"lead out of {root}", outside, hint))
        found = [item for item in located if item[2] and _is_file(item[2])]
        lines = {line for line, _, _ in found}
        missing = [(line, row[self.image_column]) for line, row in rows if line not in lines]
        if missing and self.broken == "error":
            hint = f"Relative paths start from {root}; [dataset] root changes that. {SKIP_HINT}"
            raise DataError(_listing(file, "lead to no file", missing, hint))
        parts = [PARTS[row[part_column].lower()] if part_column else "train" for _, row, _ in found]
        notes = []
        if part_column and "test" not in parts:
            notes.append(
                f"{file.name} has no test row: {self.test_fraction:.0%} of the training rows are "
                f"the test split."
            )
        label_of = {name: label for label, name in enumerate(class_names)}
        return picture_data(
            [path for _, _, path in found if path],
            [row[self.image_column] for _, row, _ in found],
            [label_of[row[self.label_column]] for _, row, _ in found],
            parts,
            class_names,
            where=str(file),
            seed=seed,
            broken=self.broken,
            test_fraction=self.test_fraction,
            notes=notes,
            left_out=[
                PictureNote(name, ("broken",), (f"there is no such file (line {line})",))
                for line, name in missing
            ],
        )

    def _root(self, file: Path | StoredPath) -> Path | StoredPath:
        """Return the folder that paths start from."""
        if self.root is not None:
            return open_place(self.root)
        if is_url(self.path):
            return open_place(self.path.rpartition("/")[0])
        assert isinstance(file, Path)
        return file.parent

    def _part_column(self, file: Path | StoredPath, columns: list[str]) -> str | None:
        wanted = {"image_column": self.image_column, "label_column": self.label_column}
        if self.split_column is not None:
            wanted["split_column"] = self.split_column
        missing = {key: column for key, column in wanted.items() if column not in columns}
        if missing:
            near = "".join(did_you_mean(column, columns) for column in missing.values())
            shown = ", ".join(printable(name, 40) for name in columns)
            raise DataError(
                f"{file} has no column {' or '.join(map(repr, missing.values()))}.{near} Its "
                f"columns: {shown}. Say which to use: [dataset] {', '.join(missing)}."
            )
        if self.split_column is not None:
            return self.split_column
        return SPLIT_COLUMN if SPLIT_COLUMN in columns else None

    def _refuse_wrong_cells(
        self, file: Path | StoredPath, rows: list[Row], part_column: str | None
    ) -> None:
        for column in (self.image_column, self.label_column):
            empty = [(line, "") for line, row in rows if not row[column]]
            if empty:
                raise DataError(_listing(file, f"have an empty '{column}'", empty, "Fill them in."))
        if part_column is None:
            return
        strange = [
            (line, row[part_column]) for line, row in rows if row[part_column].lower() not in PARTS
        ]
        if strange:
            raise DataError(
                _listing(
                    file,
                    f"have no known split in '{part_column}'",
                    strange,
                    f"Allowed: {', '.join(PARTS)}.",
                )
            )


def sort_labels(labels: set[str]) -> tuple[str, ...]:
    """Return class names in order: by their value if all are numbers, else by their text."""
    try:
        values = {label: float(label) for label in labels}
    except ValueError:
        return tuple(sorted(labels))
    if not all(map(math.isfinite, values.values())):  # classes such as "nan", which has no order
        return tuple(sorted(labels))
    return tuple(sorted(labels, key=lambda label: (values[label], label)))


def _read(file: Path | StoredPath, wanted: tuple[str, ...]) -> tuple[list[str], list[Row]]:
    """Return the columns, and each row with the line that it begins in."""
    try:
        if not file.is_file() and isinstance(file, StoredPath):
            raise DataError(f"[dataset] path: there is no {file.resolve()}.")
        text = file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as err:
        line = err.object[: err.start].count(b"\n") + 1
        raise DataError(f"{file} is not UTF-8 in line {line}: save it as UTF-8.") from err
    except OSError as err:
        raise DataError(f"[dataset] path: cannot read {file.resolve()}: {err.strerror}.") from err
    try:
        for delimiter in DELIMITERS:
            lines = _lines(text, delimiter)
            _, header = next(lines, (1, []))
            columns = [name.strip() for name in header]
            if set(wanted) <= set(columns):
                break
        else:
            lines = _lines(text, ",")
            columns = [name.strip() for name in next(lines, (1, []))[1]]
        twice = [name for name in columns if columns.count(name) > 1 and name in wanted]
        if twice:
            raise DataError(f"{file} has two columns '{twice[0]}'.")
        rows = []
        for line, cells in lines:
            if len(cells) != len(columns):
                raise DataError(
                    f"{file}: line {line} has {len(cells)} cells, and the first line names "
                    f"{len(columns)} columns. Put quotes around text with a separator."
                )
            values = (cell.strip() for cell in cells)
            rows.append((line, dict(zip(columns, values, strict=True))))
    except csv.Error as err:
        raise DataError(f"{file} is no valid CSV: {err}.") from err
    if not rows and set(wanted) <= set(columns):
        raise DataError(f"{file} lists no picture.")
    return columns, rows


def _lines(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begin = 1
    for cells in reader:
        if cells:
            yield begin, cells
        begin = reader.line_num + 1


def _is_file(path: Path | StoredPath) -> bool:
    # Path.is_file() raises on names that are too long.
    return path.is_file() if isinstance(path, StoredPath) else os.path.isfile(path)  # noqa: PTH113


def _locator(
    root: Path | StoredPath, follow_links: bool
) -> Callable[[str], Path | StoredPath | None]:
    if not isinstance(root, StoredPath):
        return _Locator(root, follow_links)

    def locate(text: str) -> StoredPath | None:
        path = root / text
        if "\\" in text and not path.is_file():
            path = root / text.replace("\\", "/")
        return path if path.is_below(root) else None

    return locate


class _Locator:
    """Turns what a cell says into the path of a file within one folder."""

    def __init__(self, root: Path, follow_links: bool) -> None:
        self._root, self._follow_links = root, follow_links
        self._real = os.path.realpath(root)
        self._parent_is_inside = functools.cache(self._is_inside)

    def __call__(self, text: str) -> Path | None:
        """Return the path, or None if it leads out of the folder, be it by a link.

        Where links are followed, it may lead out by a link alone.
        """
        if "\0" in text:
            return None
        path = self._root / text
        if "\\" in text and not os.path.isfile(path):  # noqa: PTH113
            path = self._root / text.replace("\\", "/")
        if not self._parent_is_inside(path.parent):
            return None
        if self._follow_links or not os.path.islink(path):  # noqa: PTH114
            return path
        return path if self._is_inside(path) else None

    def _is_inside(self, path: Path) -> bool:
        if self._follow_links:
            return Path(os.path.normpath(path)).is_relative_to(os.path.normpath(self._root))
        return Path(os.path.realpath(path)).is_relative_to(self._real)


def _listing(file: Path | StoredPath, problem: str, found: list[tuple[int, str]], hint: str) -> str:
    lines = [
        f"  line {line}" + (f": {printable(text, 120)}" if text else "")
        for line, text in found[:MAX_NAMED]
    ]
    more = len(found) - MAX_NAMED
    lines += [f"  and {more:,} more"] if more > 0 else []
    return "\n".join([f"{file}: {len(found):,} rows {problem}:", *lines, hint])
