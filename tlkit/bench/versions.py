"""What a measurement depends on besides its command and its data."""

from __future__ import annotations

import contextlib
import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tlkit.bench.results import PLAIN
from tlkit.bench.sides import SCRIPT
from tlkit.runtime import environment

_PACKAGE = Path(__file__).resolve().parent.parent


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
        found["source"] = _digest([SCRIPT])
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
