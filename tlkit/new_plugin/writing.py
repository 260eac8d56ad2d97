"""Writing the files of a new plugin."""

from __future__ import annotations

import keyword
import re
import secrets
import shlex
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template

from tlkit.documents.plugins import NewPlugin
from tlkit.errors import ConfigError
from tlkit.registry import KINDS, Registry, check_kind
from tlkit.store_urls import local_only

NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
# How a run is told to use it, on the small data that tlkit ships with.
RUN = {
    # Its weights are random: a head alone learns little on them.
    "backbone": (
        "tlkit run quickstart --set backbone.name={name} --set backbone.image_size=32 "
        "--set workflow.epochs=1 --set workflow.fine_tune_epochs=10 "
        "--set workflow.fine_tune_learning_rate=0.01"
    ),
    "head": "tlkit run quickstart --set head.name={name}",
    "reporter": "tlkit run quickstart --set 'reporters=[\"{name}\"]'",
    "dataset": "tlkit run quickstart --set dataset.name={name}",
    "workflow": "tlkit run quickstart --set workflow.name={name}",
    "engine": "tlkit run quickstart --set engine.name={name}",
}
TABLE = {kind: "[reporters]" if kind == "reporter" else kind for kind in KINDS}


@dataclass(frozen=True)
class _Names:
    """What the parts of the distribution are called."""

    kind: str
    name: str

    @property
    def distribution(self) -> str:
        return f"tlkit-{self.name.replace('_', '-')}"

    @property
    def package(self) -> str:
        return self.distribution.replace("-", "_")

    @property
    def module(self) -> str:
        return self.name.replace("-", "_")

    def values(self) -> dict[str, str]:
        article = "an" if self.kind[0] in "aeiou" else "a"
        return {
            "article": article,
            "article_capital": article.capitalize(),
            "class_name": "".join(part.capitalize() for part in self.module.split("_")),
            "distribution": self.distribution,
            "kind": self.kind,
            "module": self.module,
            "name": self.module,
            "package": self.package,
            "run": RUN[self.kind].format(name=self.module),
            "table": TABLE[self.kind],
            "tlkit_version": ".".join(version("tlkit").split(".")[:2]),
        }

    def files(self) -> dict[str, str]:
        """Return the path of each file, and the template that it is made of."""
        return {
            "pyproject.toml": "pyproject.toml",
            "README.md": "README.md",
            ".gitignore": "gitignore",
            ".github/workflows/tests.yml": "ci.yml",
            f"src/{self.package}/__init__.py": "init.py",
            f"src/{self.package}/{self.kind}.py": f"{self.kind}.py",
            f"tests/test_{self.module}.py": "test.py",
        }


def write_plugin(name: str, kind: str, output: Path | str = ".") -> NewPlugin:
    """Write a distribution with one plugin that installs, is found, passes its tests and runs.

    Args:
        name: Name of the plugin: small letters, digits, ``-`` and ``_``. The distribution is called
            ``tlkit-NAME``.
        kind: The kind of plugin.
        output: The folder in which the distribution's folder is made.

    Returns:
        What was written, and the commands to go on with.

    Raises:
        ConfigError: If the name or kind is not allowed, the plugin or folder is there already, or
            the folder cannot be written.
    """
    names = _Names(check_kind(kind), name.removeprefix("tlkit-").removeprefix("tlkit_"))
    if not NAME.fullmatch(names.name) or keyword.iskeyword(names.module):
        raise ConfigError(
            f"The name {name!r} is not allowed: small letters, digits, '-' and '_', the first a "
            f"letter, and no word of Python's own, such as 'my-{kind}'."
        )
    for entry in Registry().list(kind):
        if entry.name == names.module:
            raise ConfigError(
                f"There is a {kind} '{names.module}' already, from {entry.distribution} "
                f"{entry.version}. Take another name."
            )
    folder = local_only(output) / names.distribution
    _write(folder, {path: _fill(template, names) for path, template in names.files().items()})
    commands = [
        f"cd {shlex.quote(str(folder))}",
        "pip install -e '.[test]'",
        "python -m pytest",
        names.values()["run"],
    ]
    return NewPlugin(
        folder=folder,
        kind=kind,
        name=names.module,
        distribution=names.distribution,
        files=sorted(names.files()),
        commands=commands,
    )


def _fill(template: str, names: _Names) -> str:
    path = files("tlkit.new_plugin") / "templates" / f"{template}.tmpl"
    return Template(path.read_text(encoding="utf-8")).substitute(names.values())


def _write(folder: Path, texts: dict[str, str]) -> None:
    """Write all files into a new folder, or none."""
    if folder.exists():
        raise ConfigError(f"{folder} is there already. Take another name, or another --output.")
    begun = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    try:
        for name, text in texts.items():
            path = begun / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        begun.rename(folder)
    except OSError as err:
        shutil.rmtree(begun, ignore_errors=True)
        raise ConfigError(
            f"Cannot write {folder}: {err.strerror or err}. Choose another place by --output."
        ) from err
