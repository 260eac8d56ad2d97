"""Look the locked packages up in a database of known vulnerabilities, where one can be reached."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "requirements-dev.lock"
# Both hold PyPA's advisories; OSV has GitHub's too.
SERVICES = ("osv", "pypi")
SECONDS = 45


def ask(service: str) -> list[dict[str, Any]]:
    """Return what a service says of the packages that it knows; nothing if it is not reached.

    A mirror of the package index answers "not found" for each package, which pip-audit counts as
    skipped and not as an error.
    """
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), "--disable-pip"]
    command += ["--require-hashes", "--vulnerability-service", service, "--format", "json"]
    command += ["--progress-spinner", "off", "--timeout", "5"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        dependencies = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return []
    return [entry for entry in dependencies if "vulns" in entry and "skip_reason" not in entry]


def judge(checked: list[dict[str, Any]]) -> int:
    """Print the vulnerabilities; return 1 if one of them is mended in a newer release."""
    mended = 0
    for entry in checked:
        for vulnerability in entry["vulns"]:
            fixes = ", ".join(vulnerability["fix_versions"])
            mended += bool(fixes)
            advice = (
                f"fixed in {fixes}: just lock --upgrade" if fixes else "no release mends it yet"
            )
            print(f"{entry['name']} {entry['version']}: {vulnerability['id']}, {advice}")
    return 1 if mended else 0


def main() -> int:
    """Ask one service after the other until one answers."""
    for service in SERVICES:
        checked = ask(service)
        if checked:
            print(f"vulnerabilities: {len(checked)} packages checked against {service}")
            return judge(checked)
    print("vulnerabilities: not checked: no vulnerability service")
    return 0


if __name__ == "__main__":
    sys.exit(main())
