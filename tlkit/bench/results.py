"""The measurements of a bench, on disk: ``bench.json``."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlkit.atomic import atomic_write_text
from tlkit.errors import TlkitError

SCHEMA_VERSION = 1
RESULT = "bench.json"
# Names of variants that are no tlkit variant of a case.
PLAIN, IMPORTS = "plain", "imports"
Measurement = dict[str, Any]


class Results:
    """The measurements in ``bench.json``, written whenever one is added.

    Attributes:
        document: The content of the file.
    """

    def __init__(self, path: Path) -> None:
        """Read what an earlier bench left.

        Args:
            path: The file; it need not exist yet, its folder must.

        Raises:
            TlkitError: If it is not a bench's result.
        """
        self.path = path
        self.document: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "measurements": [],
            "superseded": [],
        }
        if not path.exists():
            return
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
            if earlier["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"schema_version {earlier['schema_version']!r}")
            for key in ("measurements", "superseded"):
                self.document[key] = [dict(item) for item in earlier[key]]
        except (OSError, ValueError, KeyError, TypeError) as err:
            raise TlkitError(
                f"Cannot continue the bench in {path}: {type(err).__name__}: {err}. Move the file "
                f"away, or choose another --output."
            ) from err

    @property
    def measurements(self) -> list[Measurement]:
        """The measurements that count."""
        found: list[Measurement] = self.document["measurements"]
        return found

    def find(self, case: str, variant: str, round_: int) -> Measurement | None:
        """Return one measurement, or None."""
        place = (case, variant, round_)
        return next((item for item in self.measurements if _place(item) == place), None)

    def keep_identical(self, case: str, keys: Mapping[str, Mapping[str, Any]]) -> int:
        """Set aside the case's measurements that were made in another way.

        Args:
            case: The name of the case.
            keys: For each variant what its measurements must agree with.

        Returns:
            How many were kept.
        """
        mine = [item for item in self.measurements if item["case"] == case]
        stale = [item for item in mine if item["key"] != keys.get(item["variant"])]
        self._set_aside(stale)
        return len(mine) - len(stale)

    def add(
        self,
        case: str,
        variant: str,
        round_: int,
        key: Mapping[str, Any],
        measurement: Measurement,
    ) -> None:
        """Keep a measurement, in place of an older one, and write the file."""
        old = self.find(case, variant, round_)
        self._set_aside([] if old is None else [old])
        place = {"case": case, "variant": variant, "round": round_, "key": dict(key)}
        when = {"written": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        self.measurements.append({**place, **when, **measurement})
        self.write()

    def write(self) -> None:
        """Write the file."""
        atomic_write_text(self.path, json.dumps(self.document, indent=2))

    def _set_aside(self, stale: Sequence[Measurement]) -> None:
        self.document["superseded"] += stale
        self.document["measurements"] = [
            item for item in self.measurements if not any(item is other for other in stale)
        ]


def _place(item: Measurement) -> tuple[Any, Any, Any]:
    return item["case"], item["variant"], item["round"]
