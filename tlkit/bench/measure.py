"""Measuring commands as child processes, and keeping every measurement on disk."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tlkit.atomic import atomic_write_text
from tlkit.bench.cases import Case, StartUp, Variant
from tlkit.errors import TlkitError
from tlkit.runtime import environment
from tlkit.text import printable

SCHEMA_VERSION = 1
RESULT, PLAIN, IMPORTS = "bench.json", "plain", "imports"
_LAST_LINES = 20
_PACKAGE = Path(__file__).resolve().parent.parent
_SCRIPT = Path(__file__).resolve().with_name("plain_keras.py")
_LAUNCHER = _SCRIPT.with_name("launcher.py")

Measurement = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Child:
    """A command that has ended well.

    Attributes:
        wall_seconds: From before its start to after its end.
        peak_memory_bytes: The most memory that it had in use (resident) at one time.
        stdout: What it printed.
        stderr: What it printed to standard error.
    """

    wall_seconds: float
    peak_memory_bytes: int
    stdout: str
    stderr: str


def run_child(command: Sequence[str], variables: Mapping[str, str] | None = None) -> Child:
    """Run a command to its end and measure it.

    Args:
        command: The program and its arguments.
        variables: Environment variables to add to those of this process.

    Raises:
        TlkitError: If it cannot be started or fails.
    """
    if sys.platform == "win32":
        raise TlkitError("tlkit bench does not run on Windows: it needs os.wait4.")
    with tempfile.TemporaryDirectory(prefix="tlkit-bench-", ignore_cleanup_errors=True) as name:
        result, out, err = (Path(name) / part for part in ("result", "stdout", "stderr"))
        with out.open("wb") as out_file, err.open("wb") as err_file:
            launcher = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_LAUNCHER), str(result), *command],
                stdin=subprocess.PIPE,
                stdout=out_file,
                stderr=err_file,
                env={**os.environ, **(variables or {})},
            )
            # Leaving the block closes its standard input, at which it ends the command.
            with launcher:
                launcher.wait()
        stdout, stderr = (
            path.read_text(encoding="utf-8", errors="backslashreplace") for path in (out, err)
        )
        if not result.is_file():
            raise TlkitError(f"Cannot run {_shown(command)}: {printable(stderr.strip())}.")
        seconds, code, memory = json.loads(result.read_text(encoding="utf-8"))
    if code != 0:
        raise TlkitError(_failure(command, code, stdout, stderr))
    return Child(seconds, memory, stdout, stderr)


def _shown(command: Sequence[str]) -> str:
    return printable(shlex.join(command))


def _failure(command: Sequence[str], code: int, stdout: str, stderr: str) -> str:
    ending = f"failed with exit code {code}"
    if code < 0:
        ending = f"was ended by signal {-code}" + (" (out of memory?)" if code == -9 else "")
    lines = [*stdout.splitlines(), *stderr.splitlines()][-_LAST_LINES:]
    shown = "".join(f"\n  {printable(line)}" for line in lines)
    return f"A measured command {ending}:\n{_shown(command)}\nIts last lines:{shown}"


def plain_command(case: Case, data: Path, output: Path) -> list[str]:
    """Return the command of the plain Keras side."""
    # -P, as the folder of the script has modules with everyday names.
    return [sys.executable, "-P", str(_SCRIPT), str(data), *case.plain, "--output", str(output)]


def tlkit_commands(variant: Variant, data: Path, output: Path) -> list[list[str]]:
    """Return the commands of the tlkit side, each with its own folder of runs."""
    setting = f"dataset.path={json.dumps(str(data), ensure_ascii=False)}"
    return [
        tlkit_command("run", *arguments, "--set", setting, "--runs", str(output / str(number)))
        for number, arguments in enumerate(variant.runs, start=1)
    ]


def tlkit_command(*arguments: str) -> list[str]:
    """Return a ``tlkit`` command of this Python."""
    return [sys.executable, "-m", "tlkit", *arguments]


def measure_plain(command: Sequence[str], output: Path) -> Measurement:
    """Measure the plain Keras side.

    Raises:
        TlkitError: If the command fails or does not end in its JSON line.
    """
    _empty(output)
    child = run_child(command)
    try:
        last = json.loads(child.stdout.strip().splitlines()[-1])
        job, accuracy = float(last["seconds"]), [float(item) for item in last["accuracy"]]
    except (IndexError, ValueError, KeyError, TypeError) as err:
        raise TlkitError(f"The last line of {_shown(command)} is not its JSON result.") from err
    return _measurement([child], job, accuracy, parts=[last])


def measure_tlkit(commands: Sequence[Sequence[str]], output: Path, cache: Path) -> Measurement:
    """Measure the tlkit side: runs one after another over one cache.

    Raises:
        TlkitError: If a command fails or leaves no run.
    """
    _empty(output)
    children, parts, accuracy = [], [], []
    for number, command in enumerate(commands, start=1):
        children.append(run_child(command, {"TLKIT_CACHE": str(cache)}))
        found = sorted((output / str(number)).glob("*/run.json"))
        if len(found) != 1:
            raise TlkitError(f"{_shown(command)} left {len(found)} finished runs, not 1.")
        record = json.loads(found[0].read_text(encoding="utf-8"))
        parts.append({key: record.get(key) for key in ("seconds", "feature_cache", "warnings")})
        accuracy.append(float(record["test"]["accuracy"]))
    job = sum(part["seconds"]["total"] - part["seconds"]["start"] for part in parts)
    return _measurement(children, job, accuracy, parts)


def _measurement(
    children: Sequence[Child], job: float, accuracy: list[float], parts: list[Any]
) -> Measurement:
    wall = sum(child.wall_seconds for child in children)
    return {
        "job_seconds": job,
        "wall_seconds": wall,
        "process_start_seconds": wall - job,
        "peak_memory_bytes": max(child.peak_memory_bytes for child in children),
        "accuracy": accuracy,
        "parts": parts,
    }


def _empty(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def versions(side: str) -> dict[str, str]:
    """Return what a measurement depends on besides its command and its data.

    tlkit's version says little while it is being changed, so its source counts; the plain side
    does not depend on it, and its long measurements outlive a change of tlkit.

    Args:
        side: ``"plain"`` or ``"tlkit"``.
    """
    found = environment()
    if side == PLAIN:
        found.pop("tlkit", None)
        found["source"] = _digest([_SCRIPT])
        return found
    with contextlib.suppress(PackageNotFoundError):
        found["openvino"] = version("openvino")
    bench = _PACKAGE / "bench"
    found["source"] = _digest(
        path
        for path in sorted(_PACKAGE.rglob("*"))
        if path.suffix in {".py", ".toml", ".npz"} and not path.is_relative_to(bench)
    )
    return found


def _digest(paths: Any) -> str:
    digest = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


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
            _empty(cache)
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
