"""The page of the Python API: every name of ``tlkit.__all__``, grouped by what it is for."""

from __future__ import annotations

import inspect

import tlkit

_INTRODUCTION = """# Python

All that `import tlkit` offers, and `tlkit.testing` for those who test plugins. Names outside
`tlkit.__all__` may change in any release ([deprecation](../project/releasing.md)).

"""
_GROUPS = {
    "Running": (
        "Trainer Classifier Answers Registry load_run load_model compare_grid compare_runs "
        "run_sweep write_report write_index Augmentation TestTimeAugmentation"
    ),
    "Bases of plugins": (
        "Plugin Backbone Head ClosedFormHead DatasetSource Workflow Reporter Engine Session "
        "hookimpl"
    ),
}


def page() -> str:
    """Return the page as Markdown, for mkdocstrings to fill."""
    parts = [_INTRODUCTION]
    for title, names in groups().items():
        parts.append(f"## {title}\n")
        parts += [f"::: tlkit.{name}\n" for name in names]
    parts.append("## tlkit.testing\n\n::: tlkit.testing\n")
    return "\n".join(parts)


def groups() -> dict[str, list[str]]:
    """Return every public name under one title."""
    found = {title: names.split() for title, names in _GROUPS.items()}
    placed = {name for names in found.values() for name in names}
    rest: dict[str, list[str]] = {"For plugins": [], "Records": [], "Errors": []}
    for name in sorted(tlkit.__all__):
        if name not in placed:
            rest[_title(getattr(tlkit, name))].append(name)
    return {**found, **rest}


def _title(item: object) -> str:
    if inspect.isclass(item) and issubclass(item, Exception):
        return "Errors"
    if inspect.isclass(item) and item.__module__ == "tlkit.records":
        return "Records"
    return "For plugins"
