"""The lock file is whole and not stale; the checks of .ci find what they are for."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
OWN = re.compile(r"^tlkit\b")


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pins():
    """Return the locked requirements and the number of hashes of each."""
    text = re.sub(r"#.*", "", LOCK).replace("\\\n", " ")
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        requirement, *hashes = re.split(r"\s+--hash=", line)
        found.append((Requirement(requirement), hashes))
    return found


def wanted():
    """Return what requirements-dev.in leads to in one step, extras of tlkit followed."""
    found = []
    for line in (ROOT / "requirements-dev.in").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        if not line.startswith("-e "):
            found.append(Requirement(line))
            continue
        folder, _, extras = line.removeprefix("-e ").rstrip("]").partition("[")
        text = (ROOT / folder / "pyproject.toml").read_text(encoding="utf-8")
        project = tomllib.loads(text)["project"]
        todo = list(project["dependencies"])
        names = extras.split(",") if extras else []
        while names:
            todo += project["optional-dependencies"][names.pop()]
            for own in [item for item in todo if item.startswith(f"{project['name']}[")]:
                todo.remove(own)
                names += Requirement(own).extras
        found += [Requirement(item) for item in todo if not item.startswith("tlkit>")]
    return found


def test_all_that_is_locked_has_one_release_and_hashes():
    assert len(pins()) > 200
    for requirement, hashes in pins():
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in hashes), requirement


def test_the_lock_names_no_server():
    assert not re.search(r"(?m)://|^\s*-(?!-hash)", LOCK)


def test_the_lock_is_not_stale():
    locked = {}
    for requirement, _ in pins():
        versions = locked.setdefault(canonicalize_name(requirement.name), [])
        versions.append(next(iter(requirement.specifier)).version)
    needed = wanted()
    assert {"tensorflow", "pytest", "mlflow", "hatchling", "openvino"} <= {r.name for r in needed}
    stale = [
        str(need)
        for need in needed
        if not any(map(need.specifier.contains, locked.get(canonicalize_name(need.name), [])))
    ]
    assert not stale, f"run `just lock`: {stale}"


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("Apache-2.0 OR BSD-2-Clause", True),
        ("MPL-2.0 AND MIT", True),
        ("MIT License; BSD License", True),
        ("UNKNOWN", False),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-3.0-only", False),
        ("GNU Lesser General Public License v3 (LGPLv3)", False),
    ],
)
def test_licences_are_allowed_by_all_their_parts(licence, allowed):
    assert load("licences").is_allowed(licence) is allowed


def test_a_licence_that_is_not_allowed_ends_ci(monkeypatch, capsys):
    licences = load("licences")
    found = dict.fromkeys(licences.closure([Requirement("pytest")]), ("1.0", "MIT"))
    found["pluggy"] = ("1.0", "Proprietary")
    monkeypatch.setattr(licences, "read_licences", lambda: found)
    monkeypatch.setattr(licences, "closure", lambda requirements: {"pluggy"})
    assert licences.main() == 1
    assert "licence not allowed: pluggy 1.0: Proprietary" in capsys.readouterr().err


def test_what_tlkit_leads_to_is_followed_through_its_extras():
    closure = load("licences").closure
    plain, tensorboard = closure([Requirement("tlkit")]), closure([Requirement("tlkit[html]")])
    assert {"keras", "namex", "numpy"} <= plain
    assert not plain & {"pytest", "vl-convert-python"}
    assert "vl-convert-python" in tensorboard or "jinja2" not in tensorboard


class Answer:
    def __init__(self, stdout):
        self.stdout = stdout


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        ("", 0, "not checked: no vulnerability service"),
        # What a mirror of the index leads to.
        (
            '{"dependencies": [{"name": "a", "skip_reason": "not found"}]}',
            0,
            "not checked: no vulnerability service",
        ),
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}', 0, "1 packages checked"),
        (
            '{"dependencies": [{"name": "a", "version": "1", "vulns": '
            '[{"id": "CVE-1", "fix_versions": []}]}]}',
            0,
            "a 1: CVE-1, no release mends it yet",
        ),
        (
            '{"dependencies": [{"name": "a", "version": "1", "vulns": '
            '[{"id": "CVE-1", "fix_versions": ["2"]}]}]}',
            1,
            "a 1: CVE-1, fixed in 2",
        ),
    ],
)
def test_vulnerabilities_that_a_release_mends_end_ci(monkeypatch, capsys, answer, code, said):
    audit = load("audit")
    monkeypatch.setattr(audit.subprocess, "run", lambda *a, **k: Answer(answer))
    assert audit.main() == code
    assert said in capsys.readouterr().out
