"""The cases under measurement: rounds of both sides, as far as they are not measured yet."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tlkit.bench.cases import Case, StartUp, Variant
from tlkit.bench.child import run_child
from tlkit.bench.results import IMPORTS, PLAIN, Measurement, Results
from tlkit.bench.sides import (
    empty,
    measure_plain,
    measure_tlkit,
    plain_command,
    tlkit_command,
    tlkit_commands,
)
from tlkit.bench.versions import versions
from tlkit.errors import TlkitError

Say = Callable[[str], None]


class CaseBench:
    """One case under measurement: rounds of plain Keras and then each tlkit variant.

    Both sides alternate, so that a machine that becomes slower does so for both.
    """

    def __init__(
        self, case: Case, data: Path, data_key: Mapping[str, Any], results: Results, work: Path
    ) -> None:
        """Prepare the commands.

        Args:
            case: What to measure.
            data: The .npz for both sides.
            data_key: What tells this data from other data.
            results: Where measurements are kept.
            work: Folder for what the commands write; emptied between measurements.
        """
        self.case = case
        self.results = results
        self.work = work
        self.variants = [item for item in case.variants if item.missing() is None]
        self.commands = {PLAIN: [plain_command(case, data, self._output(PLAIN))]}
        self.keys: dict[str, dict[str, Any]] = {}
        for variant in self.variants:
            output = self._output(variant.name)
            self.commands[variant.name] = tlkit_commands(variant, data, output)
        self.source = versions("tlkit")
        for name, commands in self.commands.items():
            used = versions(PLAIN) if name == PLAIN else self.source
            self.keys[name] = {"commands": commands, "data": dict(data_key), "versions": used}

    def _output(self, variant: str) -> Path:
        return self.work / _folder_name(variant)

    def _cache(self, variant: Variant) -> Path:
        return self.work / f"cache-{_folder_name(variant.cache_of or variant.name)}"

    def keep(self) -> int:
        """Return how many measurements of an earlier bench still hold; set aside the others."""
        return self.results.keep_identical(self.case.name, self.keys)

    def run(self, rounds: int, say: Say) -> None:
        """Measure what is not there yet.

        Raises:
            TlkitError: If a command fails.
        """
        for round_ in range(1, rounds + 1):
            where = f"{self.case.name}, round {round_} of {rounds}"
            if self.results.find(self.case.name, PLAIN, round_) is None:
                say(f"{where}, plain Keras ...")
                found = measure_plain(self.commands[PLAIN][0], self._output(PLAIN))
                self._add(PLAIN, round_, found, say)
            for variant in self._due(round_):
                say(f"{where}, tlkit {variant.name} ...")
                self._add(variant.name, round_, self._tlkit(variant, round_), say)
            for variant in self.variants:
                shutil.rmtree(self._cache(variant), ignore_errors=True)

    def _due(self, round_: int) -> list[Variant]:
        """Return the variants to measure, and those that must first fill a cache for them."""
        due = {
            item.name
            for item in self.variants
            if self.results.find(self.case.name, item.name, round_) is None
        }
        for item in self.variants:
            source = item.cache_of
            if item.name in due and source is not None and not self._filled(source, round_):
                due.add(source)
        return [item for item in self.variants if item.name in due]

    def _filled(self, name: str, round_: int) -> bool:
        """Tell whether a variant's cache is there and was filled to the end in this round."""
        marker = self.work / f"cache-{_folder_name(name)}" / f"filled-in-round-{round_}"
        return marker.is_file()

    def _add(self, name: str, round_: int, found: Measurement, say: Say) -> None:
        self.results.add(self.case.name, name, round_, self.keys[name], found)
        say(f"  {found['job_seconds']:.1f} s and {found['process_start_seconds']:.1f} s to start")

    def _tlkit(self, variant: Variant, round_: int) -> Measurement:
        if versions("tlkit") != self.source:
            raise TlkitError(
                "tlkit's source or a package changed during the bench. Give the same command to "
                "start again; what was measured with plain Keras is kept."
            )
        cache = self._cache(variant)
        if variant.cache_of is None:
            empty(cache)
        found = measure_tlkit(self.commands[variant.name], self._output(variant.name), cache)
        if variant.cache_of is None:
            (cache / f"filled-in-round-{round_}").touch()
        return found


def _folder_name(variant: str) -> str:
    return variant.replace(", ", "-")


class StartUpBench:
    """The start-up case under measurement."""

    def __init__(self, case: StartUp, results: Results) -> None:
        """Prepare the commands.

        Args:
            case: What to measure.
            results: Where measurements are kept.
        """
        self.case = case
        self.results = results
        self.commands = {f"tlkit {' '.join(item)}": tlkit_command(*item) for item in case.commands}
        python, *rest = tlkit_command(*case.no_tensorflow)
        self.commands[IMPORTS] = [python, "-X", "importtime", *rest]
        used = versions("tlkit")
        self.keys = {
            name: {"commands": [command], "versions": used}
            for name, command in self.commands.items()
        }

    def keep(self) -> int:
        """Return how many measurements of an earlier bench still hold; set aside the others."""
        return self.results.keep_identical(self.case.name, self.keys)

    def run(self, rounds: int, say: Say) -> None:
        """Measure what is not there yet.

        Raises:
            TlkitError: If a command fails.
        """
        # First, as it also makes Python compile and the system read what the timed ones need.
        self._measure(IMPORTS, 1)
        for round_ in range(1, max(rounds, self.case.repeats) + 1):
            for name in self.commands:
                if name != IMPORTS:
                    self._measure(name, round_)
        say(f"{self.case.name}: measured")

    def _measure(self, name: str, round_: int) -> None:
        if self.results.find(self.case.name, name, round_) is not None:
            return
        child = run_child(self.commands[name])
        found: Measurement = {
            "wall_seconds": child.wall_seconds,
            "peak_memory_bytes": child.peak_memory_bytes,
        }
        if name == IMPORTS:
            found = {"tensorflow_imported": imports_module(child.stderr, "tensorflow")}
        self.results.add(self.case.name, name, round_, self.keys[name], found)


def imports_module(importtime: str, module: str) -> bool:
    """Tell from the output of ``python -X importtime`` whether a module was imported."""
    names = (
        line.rsplit("|", 1)[-1].strip()
        for line in importtime.splitlines()
        if line.startswith("import time:")
    )
    return any(name == module or name.startswith(f"{module}.") for name in names)
